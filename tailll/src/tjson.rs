//! Thrift's JSON protocol, as far as questions to a scheduler need it.
//!
//! Schedulers of every age take it at `/api`, older ones nothing else. Owns the protocol and the numbers of fields and enums; both
//! sides of it are the plain JSON with named fields that `/apibeta` has, so that what an answer means is told in one place,
//! `aurora.rs`. Unknown fields, union members and enum numbers are passed over or kept as numbers.

use serde_json::{Map, Value, json};

/// What a field holds.
#[derive(Debug)]
enum Kind {
    /// A 32-bit number.
    I32,
    /// A 64-bit number.
    I64,
    /// A text.
    Str,
    /// A number that stands for a name.
    Enum(&'static [(i64, &'static str)]),
    /// A struct or union.
    Struct(&'static [Field]),
    /// A list.
    List(&'static Kind),
    /// A set.
    Set(&'static Kind),
}

/// A field: its number, its name and what it holds.
type Field = (u16, &'static str, Kind);

/// `ScheduleStatus`.
const STATUSES: &[(i64, &str)] = &[
    (0, "PENDING"),
    (1, "STARTING"),
    (2, "RUNNING"),
    (3, "FINISHED"),
    (4, "FAILED"),
    (5, "KILLED"),
    (6, "KILLING"),
    (7, "LOST"),
    (9, "ASSIGNED"),
    (11, "INIT"),
    (12, "RESTARTING"),
    (13, "PREEMPTING"),
    (16, "THROTTLED"),
    (17, "DRAINING"),
    (18, "PARTITIONED"),
];

/// `ResponseCode`.
const CODES: &[(i64, &str)] = &[
    (0, "INVALID_REQUEST"),
    (1, "OK"),
    (2, "ERROR"),
    (3, "WARNING"),
    (4, "AUTH_FAILED"),
    (5, "JOB_UPDATING_ERROR"),
    (6, "ERROR_TRANSIENT"),
];

const JOB_KEY: &[Field] = &[
    (1, "role", Kind::Str),
    (2, "environment", Kind::Str),
    (3, "name", Kind::Str),
];

const QUERY: &[Field] = &[
    (4, "taskIds", Kind::Set(&Kind::Str)),
    (5, "statuses", Kind::Set(&Kind::Enum(STATUSES))),
    (11, "jobKeys", Kind::Set(&Kind::Struct(JOB_KEY))),
];

/// The arguments of the methods that are called: `getJobs` has another one, which is never sent.
const ARGUMENTS: &[Field] = &[(1, "query", Kind::Struct(QUERY))];

const TASK_CONFIG: &[Field] = &[(28, "job", Kind::Struct(JOB_KEY))];

const ASSIGNED_TASK: &[Field] = &[
    (1, "taskId", Kind::Str),
    (2, "slaveId", Kind::Str),
    (3, "slaveHost", Kind::Str),
    (4, "task", Kind::Struct(TASK_CONFIG)),
    (6, "instanceId", Kind::I32),
];

const TASK_EVENT: &[Field] = &[
    (1, "timestamp", Kind::I64),
    (2, "status", Kind::Enum(STATUSES)),
    (3, "message", Kind::Str),
    (4, "scheduler", Kind::Str),
];

const SCHEDULED_TASK: &[Field] = &[
    (1, "assignedTask", Kind::Struct(ASSIGNED_TASK)),
    (2, "status", Kind::Enum(STATUSES)),
    (4, "taskEvents", Kind::List(&Kind::Struct(TASK_EVENT))),
    (5, "ancestorId", Kind::Str),
];

const TASKS_RESULT: &[Field] = &[(1, "tasks", Kind::List(&Kind::Struct(SCHEDULED_TASK)))];

const JOB_CONFIGURATION: &[Field] = &[
    (8, "instanceCount", Kind::I32),
    (9, "key", Kind::Struct(JOB_KEY)),
];

const JOBS_RESULT: &[Field] = &[(1, "configs", Kind::Set(&Kind::Struct(JOB_CONFIGURATION)))];

const RESULT: &[Field] = &[
    (3, "scheduleStatusResult", Kind::Struct(TASKS_RESULT)),
    (4, "getJobsResult", Kind::Struct(JOBS_RESULT)),
];

const RESPONSE_DETAIL: &[Field] = &[(1, "message", Kind::Str)];

const RESPONSE: &[Field] = &[
    (1, "responseCode", Kind::Enum(CODES)),
    (3, "result", Kind::Struct(RESULT)),
    (6, "details", Kind::List(&Kind::Struct(RESPONSE_DETAIL))),
];

/// What a method returns: field 0 of a struct of its own.
const REPLY: &[Field] = &[(0, "success", Kind::Struct(RESPONSE))];

const EXCEPTION: &[Field] = &[(1, "message", Kind::Str), (2, "type", Kind::I32)];

/// The version of the protocol, the first value of each message.
const VERSION: i64 = 1;
const CALL: i64 = 1;
const REPLIED: i64 = 2;
const EXCEPTED: i64 = 3;

/// The type of an exception that says that there is no such method.
const UNKNOWN_METHOD: i64 = 1;

/// Why an answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum TjsonError {
    /// It is no JSON; it may have been cut off.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is JSON, but no message of the protocol.
    #[error("no message of Thrift's JSON protocol: {0}")]
    Form(&'static str),
    /// The other side reports a failure of its own.
    #[error("the scheduler failed: {}", crate::causes::plain(.message))]
    Exception {
        /// Its words.
        message: String,
        /// Whether it says that it has no such method.
        unknown_method: bool,
    },
}

/// A call of a method. `arguments` are as for `/apibeta`: named fields, enums by name; names that are not known are left out.
pub fn call(method: &str, arguments: &Value) -> String {
    json!([
        VERSION,
        method,
        CALL,
        1,
        encode_struct(ARGUMENTS, arguments)
    ])
    .to_string()
}

/// The response in an answer to a call, in the form that `/apibeta` has.
pub fn reply(answer: &[u8]) -> Result<Value, TjsonError> {
    let message: Value = serde_json::from_slice(answer)?;
    let Some([version, _name, kind, _sequence, body]) = message.as_array().map(Vec::as_slice)
    else {
        return Err(TjsonError::Form("not a list of five values"));
    };
    if version.as_i64() != Some(VERSION) {
        return Err(TjsonError::Form("not version 1"));
    }
    match kind.as_i64() {
        Some(REPLIED) => {
            let mut reply = decode_struct(REPLY, body)?;
            reply
                .get_mut("success")
                .map(Value::take)
                .ok_or(TjsonError::Form("a reply without result"))
        }
        Some(EXCEPTED) => {
            let exception = decode_struct(EXCEPTION, body)?;
            Err(TjsonError::Exception {
                message: exception
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("it does not say why")
                    .to_owned(),
                unknown_method: exception.get("type").and_then(Value::as_i64)
                    == Some(UNKNOWN_METHOD),
            })
        }
        _ => Err(TjsonError::Form("neither a reply nor an exception")),
    }
}

impl Kind {
    /// What it is called on the wire. An enum is a 32-bit number there.
    const fn tag(&self) -> &'static str {
        match self {
            Self::I32 | Self::Enum(_) => "i32",
            Self::I64 => "i64",
            Self::Str => "str",
            Self::Struct(_) => "rec",
            Self::List(_) => "lst",
            Self::Set(_) => "set",
        }
    }

    fn encode(&self, value: &Value) -> Option<Value> {
        match self {
            Self::I32 | Self::I64 => value.is_i64().then(|| value.clone()),
            Self::Str => value.is_string().then(|| value.clone()),
            Self::Enum(names) => {
                let name = value.as_str()?;
                let (number, _) = names.iter().find(|(_, known)| *known == name)?;
                Some(json!(number))
            }
            Self::Struct(fields) => value.is_object().then(|| encode_struct(fields, value)),
            Self::List(of) | Self::Set(of) => {
                let values: Vec<Value> = value
                    .as_array()?
                    .iter()
                    .filter_map(|value| of.encode(value))
                    .collect();
                let mut list = vec![json!(of.tag()), json!(values.len())];
                list.extend(values);
                Some(Value::Array(list))
            }
        }
    }

    fn decode(&self, value: &Value) -> Result<Value, TjsonError> {
        match self {
            Self::I32 | Self::I64 if value.is_number() => Ok(value.clone()),
            Self::I32 | Self::I64 => Err(TjsonError::Form("a number that is none")),
            Self::Str if value.is_string() => Ok(value.clone()),
            Self::Str => Err(TjsonError::Form("a text that is none")),
            Self::Enum(names) => {
                let number = value.as_i64();
                let known = names.iter().find(|(known, _)| Some(*known) == number);
                match known {
                    Some((_, name)) => Ok(json!(name)),
                    None if number.is_some() => Ok(value.clone()),
                    None => Err(TjsonError::Form("an enum that is no number")),
                }
            }
            Self::Struct(fields) => decode_struct(fields, value).map(Value::Object),
            Self::List(of) | Self::Set(of) => {
                let Some([tag, count, values @ ..]) = value.as_array().map(Vec::as_slice) else {
                    return Err(TjsonError::Form("a list without type and length"));
                };
                if count.as_u64() != Some(values.len() as u64) {
                    return Err(TjsonError::Form("a list of another length than it says"));
                }
                // Of an empty list the type means nothing.
                if !values.is_empty() && tag.as_str() != Some(of.tag()) {
                    return Err(TjsonError::Form("a list of another type"));
                }
                let values: Result<Vec<Value>, TjsonError> =
                    values.iter().map(|value| of.decode(value)).collect();
                values.map(Value::Array)
            }
        }
    }
}

fn encode_struct(fields: &[Field], value: &Value) -> Value {
    let mut encoded = Map::new();
    for (number, name, kind) in fields {
        if let Some(value) = value.get(name).and_then(|value| kind.encode(value)) {
            encoded.insert(number.to_string(), json!({ (kind.tag()): value }));
        }
    }
    Value::Object(encoded)
}

/// The known fields; one whose type is another than it has been is not known either.
fn decode_struct(fields: &[Field], value: &Value) -> Result<Map<String, Value>, TjsonError> {
    let encoded = value
        .as_object()
        .ok_or(TjsonError::Form("a struct that is none"))?;
    let mut decoded = Map::new();
    for (number, name, kind) in fields {
        let value = encoded
            .get(&number.to_string())
            .and_then(|field| field.get(kind.tag()));
        if let Some(value) = value {
            decoded.insert((*name).to_owned(), kind.decode(value)?);
        }
    }
    Ok(decoded)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response in the form of `/apibeta` as an old scheduler writes it.
    pub(crate) fn reply_of(method: &str, response: &Value) -> String {
        let body = encode_struct(REPLY, &json!({ "success": response }));
        json!([VERSION, method, REPLIED, 1, body]).to_string()
    }

    // As Thrift's own library writes it for a scheduler with one task.
    const ANSWER: &str = r#"[1,"getTasksWithoutConfigs",2,1,{"0":{"rec":{"1":{"i32":1},"3":{"rec":{"3":{"rec":{"1":{"lst":["rec",1,
        {"1":{"rec":{"1":{"str":"www-data-prod-hello-0-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22"},"2":{"str":"f1b2-S3"},
        "3":{"str":"node7.example.com"},"4":{"rec":{"7":{"tf":1},"25":{"rec":{"1":{"str":"AuroraExecutor"}}},
        "28":{"rec":{"1":{"str":"www-data"},"2":{"str":"prod"},"3":{"str":"hello"}}},"29":{"rec":{"1":{"rec":{}}}}}},
        "5":{"map":["str","i32",1,{"http":31234}]},"6":{"i32":0}}},"2":{"i32":2},"3":{"i32":0},
        "4":{"lst":["rec",1,{"1":{"i64":1700000003000},"2":{"i32":99}}]},"6":{"i32":0}}]}}}}},
        "5":{"rec":{"1":{"str":"devcluster"}}},"6":{"lst":["rec",0]}}}}]"#;

    #[test]
    fn a_call_is_written_as_thrift_writes_it() {
        let query = json!({"query": {
            "jobKeys": [{"role": "www-data", "environment": "prod", "name": "hello"}],
            "statuses": ["STARTING", "RUNNING", "LEVITATING"],
        }});
        let sent: Value =
            serde_json::from_str(&call("getTasksWithoutConfigs", &query)).expect("JSON");
        let expected: Value = serde_json::from_str(
            r#"[1,"getTasksWithoutConfigs",1,1,{"1":{"rec":{"5":{"set":["i32",2,1,2]},
            "11":{"set":["rec",1,{"1":{"str":"www-data"},"2":{"str":"prod"},"3":{"str":"hello"}}]}}}}]"#,
        )
        .expect("JSON");
        assert_eq!(sent, expected);
        assert_eq!(call("getJobs", &json!({})), r#"[1,"getJobs",1,1,{}]"#);
    }

    #[test]
    fn an_answer_reads_as_apibetas() {
        let expected = json!({
            "responseCode": "OK", "details": [],
            "result": {"scheduleStatusResult": {"tasks": [{
                "assignedTask": {
                    "taskId": "www-data-prod-hello-0-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22", "slaveId": "f1b2-S3",
                    "slaveHost": "node7.example.com", "instanceId": 0,
                    "task": {"job": {"role": "www-data", "environment": "prod", "name": "hello"}},
                },
                "status": "RUNNING",
                "taskEvents": [{"timestamp": 1_700_000_003_000_i64, "status": 99}],
            }]}},
        });
        assert_eq!(reply(ANSWER.as_bytes()).expect("an answer"), expected);
    }

    #[test]
    fn exceptions_and_nonsense_are_errors() {
        for (answer, expected) in [
            (
                r#"[1,"x",3,1,{"1":{"str":"Invalid method name: 'x'\u001b"},"2":{"i32":1}}]"#,
                r"the scheduler failed: Invalid method name: 'x'\u{1b}",
            ),
            (
                r#"[1,"x",3,1,{}]"#,
                "the scheduler failed: it does not say why",
            ),
            (r#"[1,"x",1,1,{}]"#, "neither a reply nor an exception"),
            (r#"[2,"x",2,1,{}]"#, "not version 1"),
            (r#"[1,"x",2,1,{}]"#, "a reply without result"),
            (r#"[1,"x",2,1,{"0":{"rec":7}}]"#, "a struct that is none"),
            (
                r#"[1,"x",2,1,{"0":{"rec":{"6":{"lst":["rec",2,{}]}}}}]"#,
                "another length",
            ),
            (
                r#"[1,"x",2,1,{"0":{"rec":{"6":{"lst":["str",1,"a"]}}}}]"#,
                "another type",
            ),
            (
                r#"[1,"x",2,1,{"0":{"rec":{"6":{"lst":[]}}}}]"#,
                "without type and length",
            ),
            ("{}", "not a list of five values"),
            ("[1,", "EOF"),
        ] {
            let error = reply(answer.as_bytes()).expect_err(answer).to_string();
            assert!(error.contains(expected), "{answer}: {error}");
        }
        let unknown = reply(br#"[1,"x",3,1,{"2":{"i32":1}}]"#);
        assert!(matches!(
            unknown,
            Err(TjsonError::Exception {
                unknown_method: true,
                ..
            })
        ));
    }

    #[test]
    fn a_field_of_another_type_is_passed_over() {
        let answer = r#"[1,"x",2,1,{"0":{"rec":{"1":{"str":"OK"},"6":{"set":["rec",0]}}}}]"#;
        assert_eq!(reply(answer.as_bytes()).expect("a response"), json!({}));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in any::<Vec<u8>>()) {
            let _ = reply(&body);
        }

        #[test]
        fn a_cut_answer_is_an_error(cut in 0..ANSWER.len()) {
            prop_assert!(reply(&ANSWER.as_bytes()[..cut]).is_err());
        }

        #[test]
        fn what_is_written_is_read(host in any::<String>(), instance in 0..1_000_000, status in 0..STATUSES.len()) {
            let response = json!({"responseCode": "OK", "result": {"scheduleStatusResult": {"tasks": [
                {"assignedTask": {"slaveHost": host, "instanceId": instance}, "status": STATUSES[status].1},
            ]}}});
            prop_assert_eq!(reply(reply_of("x", &response).as_bytes()).expect("an answer"), response);
        }
    }
}
