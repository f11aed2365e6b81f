"""An Aurora scheduler's read API for tests, on Apache Thrift's own Python library.

What tailll sends is decoded, and what it gets is encoded, by code that is not tailll's: `/api` is Thrift's TJSONProtocol over
structs written down from Aurora's IDL, `/apibeta/<method>` the same structs as plain JSON. Nothing is scheduled: the tasks come
from the command line. It prints `port N` first and then one JSON object for each request, and ends when its standard input does.
"""

import argparse
import gzip
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from thrift.protocol.TBase import TBase
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer

STATUSES = {
    "PENDING": 0, "STARTING": 1, "RUNNING": 2, "FINISHED": 3, "FAILED": 4, "KILLED": 5, "KILLING": 6, "LOST": 7,
    "ASSIGNED": 9, "INIT": 11, "RESTARTING": 12, "PREEMPTING": 13, "THROTTLED": 16, "DRAINING": 17, "PARTITIONED": 18,
}
CODES = {
    "INVALID_REQUEST": 0, "OK": 1, "ERROR": 2, "WARNING": 3, "AUTH_FAILED": 4, "JOB_UPDATING_ERROR": 5, "ERROR_TRANSIENT": 6,
}


class Enum:
    """A field whose numbers have names in plain JSON."""

    def __init__(self, names):
        self.names = {number: name for name, number in names.items()}


def typed(kind):
    """Thrift's type of a field, and its further arguments."""
    if isinstance(kind, Enum):
        return TType.I32, None
    if isinstance(kind, tuple):
        container, element = kind
        ttype, arguments = typed(element)
        return container, (ttype, arguments, False)
    if isinstance(kind, type):
        return TType.STRUCT, [kind, None]
    return kind, "UTF8" if kind == TType.STRING else None


def struct(struct_name, *fields):
    """A class for a struct or union with fields (number, name, kind)."""

    def init(self, **values):
        for _, field, _ in fields:
            setattr(self, field, values.pop(field, None))
        assert not values, values

    spec = [None] * (max((number for number, _, _ in fields), default=-1) + 1)
    for number, field, kind in fields:
        ttype, arguments = typed(kind)
        spec[number] = (number, ttype, field, arguments, None)
    # Sets hold structs, so these need a hash.
    members = {"__init__": init, "__hash__": object.__hash__, "__eq__": object.__eq__, "fields": fields}
    made = type(struct_name, (TBase,), members)
    made.thrift_spec = tuple(spec)
    return made


STRING, I32, I64, BOOL, DOUBLE = TType.STRING, TType.I32, TType.I64, TType.BOOL, TType.DOUBLE
STATUS = Enum(STATUSES)

JobKey = struct("JobKey", (1, "role", STRING), (2, "environment", STRING), (3, "name", STRING))
TaskQuery = struct(
    "TaskQuery", (14, "role", STRING), (9, "environment", STRING), (2, "jobName", STRING), (4, "taskIds", (TType.SET, STRING)),
    (5, "statuses", (TType.SET, STATUS)), (7, "instanceIds", (TType.SET, I32)), (10, "slaveHosts", (TType.SET, STRING)),
    (11, "jobKeys", (TType.SET, JobKey)), (12, "offset", I32), (13, "limit", I32),
)
Identity = struct("Identity", (2, "user", STRING))
ExecutorConfig = struct("ExecutorConfig", (1, "name", STRING), (2, "data", STRING))
Metadata = struct("Metadata", (1, "key", STRING), (2, "value", STRING))
# A member that no IDL knows yet stands beside the known ones.
Resource = struct("Resource", (1, "numCpus", DOUBLE), (2, "ramMb", I64), (3, "diskMb", I64), (60, "future", STRING))
MesosContainer = struct("MesosContainer")
Container = struct("Container", (1, "mesos", MesosContainer))
TaskConfig = struct(
    "TaskConfig", (28, "job", JobKey), (17, "owner", Identity), (7, "isService", BOOL), (18, "production", BOOL),
    (30, "tier", STRING), (25, "executorConfig", ExecutorConfig), (27, "metadata", (TType.SET, Metadata)),
    (32, "resources", (TType.SET, Resource)), (29, "container", Container), (99, "future", (TType.LIST, Metadata)),
)


class PortMap(dict):
    """`map<string, i32>`, the only map there is."""


AssignedTask = struct(
    "AssignedTask", (1, "taskId", STRING), (2, "slaveId", STRING), (3, "slaveHost", STRING), (4, "task", TaskConfig),
    (6, "instanceId", I32), (98, "future", BOOL),
)
AssignedTask.thrift_spec = (
    AssignedTask.thrift_spec[:5]
    + ((5, TType.MAP, "assignedPorts", (STRING, "UTF8", I32, None, False), None),)
    + AssignedTask.thrift_spec[6:]
)
AssignedTask.fields = (*AssignedTask.fields, (5, "assignedPorts", PortMap))
AssignedTask.assignedPorts = None
TaskEvent = struct("TaskEvent", (1, "timestamp", I64), (2, "status", STATUS), (3, "message", STRING), (4, "scheduler", STRING))
ScheduledTask = struct(
    "ScheduledTask", (1, "assignedTask", AssignedTask), (2, "status", STATUS), (3, "failureCount", I32),
    (6, "timesPartitioned", I32), (4, "taskEvents", (TType.LIST, TaskEvent)), (5, "ancestorId", STRING),
)
ScheduleStatusResult = struct("ScheduleStatusResult", (1, "tasks", (TType.LIST, ScheduledTask)))
JobConfiguration = struct(
    "JobConfiguration", (9, "key", JobKey), (7, "owner", Identity), (6, "taskConfig", TaskConfig), (8, "instanceCount", I32),
)
GetJobsResult = struct("GetJobsResult", (1, "configs", (TType.SET, JobConfiguration)))
Result = struct("Result", (3, "scheduleStatusResult", ScheduleStatusResult), (4, "getJobsResult", GetJobsResult))
ServerInfo = struct("ServerInfo", (1, "clusterName", STRING), (3, "statsUrlPrefix", STRING))
ResponseDetail = struct("ResponseDetail", (1, "message", STRING))
Response = struct(
    "Response", (1, "responseCode", Enum(CODES)), (5, "serverInfo", ServerInfo), (3, "result", Result),
    (6, "details", (TType.LIST, ResponseDetail)), (77, "future", MesosContainer),
)
Reply = struct("Reply", (0, "success", Response))
QueryArguments = struct("QueryArguments", (1, "query", TaskQuery))
JobsArguments = struct("JobsArguments", (1, "ownerRole", STRING))

ARGUMENTS = {"getTasksStatus": QueryArguments, "getTasksWithoutConfigs": QueryArguments, "getJobs": JobsArguments}


def to_plain(value, kind):
    """What plain JSON says for a value; what is not set is left out."""
    if isinstance(kind, Enum):
        return kind.names.get(value, f"STATUS_{value}")
    if isinstance(kind, tuple):
        return [to_plain(element, kind[1]) for element in value]
    if isinstance(value, TBase):
        set_fields = ((field, getattr(value, field), kind) for _, field, kind in value.fields)
        return {field: to_plain(inner, kind) for field, inner, kind in set_fields if inner is not None}
    return value


class Refused(Exception):
    """The scheduler says no."""


class Query:
    """What of the tasks is wanted, from either dialect; statuses are names."""

    def __init__(self, statuses, keys, task_ids):
        self.statuses, self.keys, self.task_ids = statuses, keys, task_ids

    @classmethod
    def of_thrift(cls, query):
        known = STATUS.names
        return cls(
            query.statuses and [known.get(number, str(number)) for number in query.statuses],
            query.jobKeys and [(key.role, key.environment, key.name) for key in query.jobKeys],
            query.taskIds and list(query.taskIds),
        )

    @classmethod
    def of_plain(cls, query):
        keys = query.get("jobKeys")
        return cls(
            query.get("statuses"),
            keys and [(key["role"], key["environment"], key["name"]) for key in keys],
            query.get("taskIds"),
        )

    def takes(self, task):
        return (
            (not self.statuses or task["status"] in self.statuses)
            and (not self.keys or (task["role"], task["environment"], task["name"]) in self.keys)
            and (not self.task_ids or task["task_id"] in self.task_ids)
        )


def config_of(task, unknown):
    return TaskConfig(
        job=JobKey(role=task["role"], environment=task["environment"], name=task["name"]), owner=Identity(user="somebody"),
        isService=True, production=False, tier="preferred", metadata={Metadata(key="a", value="b")},
        executorConfig=ExecutorConfig(name="AuroraExecutor", data='{"json": "in \\"json\\""}'),
        resources={Resource(numCpus=1.5), Resource(ramMb=128)} | ({Resource(future="6")} if unknown else set()),
        container=Container(mesos=MesosContainer()), future=[Metadata(key="c", value="d")] if unknown else None,
    )


def task_of(task, unknown):
    number = STATUSES.get(task["status"], 77)
    host = task.get("host")
    assigned = AssignedTask(
        taskId=task["task_id"], slaveId=host and f"agent-of-{host}", slaveHost=host, task=config_of(task, unknown),
        instanceId=task["instance"], future=True if unknown else None,
    )
    assigned.assignedPorts = {"http": 31234}
    return ScheduledTask(
        assignedTask=assigned, status=number, failureCount=0, timesPartitioned=0, ancestorId="an-older-one",
        taskEvents=[
            TaskEvent(timestamp=task["at_ms"] - 1000, status=0, scheduler="s1"),
            TaskEvent(timestamp=task["at_ms"], status=number, message=task.get("message"), scheduler="s1"),
        ],
    )


class Scheduler:
    """The tasks, and what goes wrong."""

    def __init__(self, options):
        self.options = options
        self.tasks = json.loads(options.tasks)
        self.lock = threading.Lock()
        self.requests = 0

    def count(self):
        with self.lock:
            self.requests += 1
            return self.requests

    def answer(self, method, query):
        unknown = self.options.unknown
        if method == "getJobs":
            jobs = {(task["role"], task["environment"], task["name"]): task for task in self.tasks}
            configs = {
                JobConfiguration(
                    key=JobKey(role=role, environment=environment, name=name), owner=Identity(user="somebody"),
                    taskConfig=config_of(task, unknown), instanceCount=3,
                )
                for (role, environment, name), task in jobs.items()
            }
            return self.response(Result(getJobsResult=GetJobsResult(configs=configs)))
        if self.options.refuse and query.statuses and self.options.refuse in query.statuses:
            raise Refused(f"no status {self.options.refuse} here")
        tasks = [task_of(task, unknown) for task in self.tasks if query.takes(task)]
        return self.response(Result(scheduleStatusResult=ScheduleStatusResult(tasks=tasks)))

    def response(self, result, code="OK", details=()):
        return Response(
            responseCode=CODES[code], result=result, serverInfo=ServerInfo(clusterName="py", statsUrlPrefix="http://s/"),
            details=[ResponseDetail(message=detail) for detail in details],
            future=MesosContainer() if self.options.unknown else None,
        )

    def safe_answer(self, method, query):
        try:
            return self.answer(method, query)
        except Refused as refused:
            return self.response(None, "INVALID_REQUEST", [str(refused), "ask for less"])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    scheduler = None

    def log_message(self, *_):
        pass

    def do_POST(self):
        options = self.scheduler.options
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = self.scheduler.count()
        self.seen = {"path": self.path, "type": self.headers.get("Content-Type")}
        if options.redirect and number > options.lead_for:
            self.reply(307, b"", {"Location": options.redirect.rstrip("/") + self.path})
        elif number <= options.unavailable:
            self.reply(503, b"<html>no leader</html>", {"Content-Type": "text/html"})
        elif self.path == "/api":
            self.thrift(body)
        elif self.path.startswith("/apibeta/") and not options.no_apibeta:
            self.plain(self.path[len("/apibeta/"):], body)
        else:
            self.reply(404, b"<html>not here</html>", {"Content-Type": "text/html"})

    def thrift(self, body):
        kinds = (None, "application/x-thrift", "application/json", "application/vnd.apache.thrift.json")
        if self.seen["type"] not in kinds:
            return self.reply(415, b"")
        reader = TJSONProtocol(TMemoryBuffer(body))
        method, message, sequence = reader.readMessageBegin()
        assert message == TMessageType.CALL, message
        buffer = TMemoryBuffer()
        writer = TJSONProtocol(buffer)
        if method not in ARGUMENTS or method == self.scheduler.options.no_method:
            writer.writeMessageBegin(method, TMessageType.EXCEPTION, sequence)
            error = TApplicationException(TApplicationException.UNKNOWN_METHOD, f"Invalid method name: '{method}'")
            error.write(writer)
        else:
            arguments = ARGUMENTS[method]()
            arguments.read(reader)
            reader.readMessageEnd()
            query = Query.of_thrift(arguments.query) if method != "getJobs" else None
            self.note(method, query)
            if self.falls_over(method):
                return None
            writer.writeMessageBegin(method, TMessageType.REPLY, sequence)
            Reply(success=self.scheduler.safe_answer(method, query)).write(writer)
        writer.writeMessageEnd()
        return self.good(buffer.getvalue(), method)

    def plain(self, method, body):
        if method not in ARGUMENTS:
            return self.reply(404, b"")
        arguments = json.loads(body) if body else {}
        query = Query.of_plain(arguments["query"]) if method != "getJobs" else None
        self.note(method, query)
        if self.falls_over(method):
            return None
        response = self.scheduler.safe_answer(method, query)
        return self.good(json.dumps(to_plain(response, Response)).encode(), method)

    def note(self, method, query):
        self.seen["method"] = method
        if query:
            self.seen["statuses"] = sorted(query.statuses or [])
            self.seen["keys"] = sorted("/".join(key) for key in query.keys or [])
            self.seen["task_ids"] = sorted(query.task_ids or [])

    def falls_over(self, method):
        if method == "getTasksWithoutConfigs" and self.scheduler.options.no_executor:
            self.reply(500, b"<html>NullPointerException</html>", {"Content-Type": "text/html"})
            return True
        return False

    def good(self, body, method):
        options = self.scheduler.options
        headers = {"Content-Type": "application/json"}
        if options.gzip:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        if method == options.truncate_text:
            body = body[: len(body) // 2]
        self.reply(200, body, headers, cut=method == options.truncate_body)

    def reply(self, status, body, headers=None, cut=False):
        # Before the answer: who has that may end us at once.
        print(json.dumps(self.seen), flush=True)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="[]", help="a JSON list: role, environment, name, instance, task_id, host, status, message, at_ms")
    parser.add_argument("--redirect", metavar="URI", help="another one leads")
    parser.add_argument("--lead-for", type=int, default=0, metavar="N", help="N requests are answered before the other one leads")
    parser.add_argument("--unavailable", type=int, default=0, metavar="N", help="the first N requests get a 503")
    parser.add_argument("--truncate-text", metavar="METHOD", help="answers to it end in the middle")
    parser.add_argument("--truncate-body", metavar="METHOD", help="answers to it end before their announced length")
    parser.add_argument("--unknown", action="store_true", help="fields and union members that no IDL has")
    parser.add_argument("--no-executor", action="store_true", help="getTasksWithoutConfigs gets a 500")
    parser.add_argument("--no-method", metavar="METHOD", help="/api does not know it")
    parser.add_argument("--no-apibeta", action="store_true", help="only /api is there")
    parser.add_argument("--refuse", metavar="STATUS", help="queries for it are refused")
    parser.add_argument("--gzip", action="store_true", help="answers are packed though nobody asked for it")
    Handler.scheduler = Scheduler(parser.parse_args())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"port {server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    # Nothing is kept, so nothing is to be put away.
    os._exit(0)


if __name__ == "__main__":
    main()
