//! What each verb does: what was typed, together with the configuration and the catalogue.

use std::sync::Arc;

use archive::Hour;
use archive::store::{self, Root, Store};

use crate::args::{
    AroundArgs, DdlArgs, DoctorArgs, LsArgs, OutputArgs, PublishArgs, RunArgs, SelectionArgs,
    SetupArgs, ShowArgs, SqlArgs, TableArgs, Verb,
};
use crate::ask::{self, Answered, NewFile, unwritten};
use crate::catalogue::{Catalogue, Unknown};
use crate::config::{Config, EngineKind};
use crate::ddl::{Dialect, Plan, PlanError, Wanted, plan};
use crate::doctor::{self, Finding, Health};
use crate::engine::Engine;
use crate::exit::{Exit, Failed};
use crate::output::{Fit, Format, Header, Options, Page, Reader, Target, stats};
use crate::place::Place;
use crate::query::{Chart, Query};
use crate::retry::Outside;
use crate::run::Console;
use crate::statement::{Statement, StatementError, Surroundings, Values};
use crate::{completions, estimate, freshness, publications, show, survey, tables};

/// What a verb works with.
pub struct Workplace<'w> {
    /// The configuration, with what flags say in its place.
    pub config: Config,
    /// The queries.
    pub catalogue: &'w Catalogue,
    /// The values of parameters that were given by flags of their own.
    pub flags: Values,
}

/// Does what a verb says.
pub fn perform(
    verb: Verb,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    match verb {
        Verb::Ls(args) => ls(&args, work, console),
        Verb::Show(args) => show(args, work, console),
        Verb::Run(args) => run(args, work, console),
        Verb::Sql(args) => sql(args, work, console),
        Verb::Around(args) => around(&args, work, console),
        Verb::Ddl(args) => ddl(&args, work, console),
        Verb::Setup(args) => setup(&args, work, console),
        Verb::Publish(args) => publish(&args, work, console),
        Verb::Doctor(args) => doctor(&args, work, console),
        Verb::Completions(args) => {
            let script = completions::script(&args.shell).map_err(Failed::usage)?;
            console.out.write_all(&script).map_err(unwritten)?;
            Ok(Exit::Success)
        }
    }
}

fn ls(args: &LsArgs, work: &Workplace<'_>, console: &mut Console<'_>) -> Result<Exit, Failed> {
    // A query that is not there because its file is broken is not missing without a word.
    for problem in &work.catalogue.problems {
        console.say(&joblog::causes::chain(problem));
    }
    if args.json {
        show::list_json(work.catalogue, console.out).map_err(unwritten)?;
    } else {
        let options = Options {
            format: Format::Table,
            header: Header::Shown,
            fit: Fit::Wrapped,
            page: console.page(),
            chart: None,
        };
        show::list(work.catalogue, options, console.out).map_err(unwritten)?;
    }
    Ok(if work.catalogue.problems.is_empty() {
        Exit::Success
    } else {
        Exit::Failed
    })
}

fn show(args: ShowArgs, work: &Workplace<'_>, console: &mut Console<'_>) -> Result<Exit, Failed> {
    let query = work.query(&args.query)?;
    if args.expanded {
        let given = work.given(&args.selection, args.parameters.param);
        let statement = work.statement(query, &given, console.wall_ns())?;
        writeln!(console.out, "{}", statement.sql).map_err(unwritten)?;
    } else {
        show::query(query, console.out).map_err(unwritten)?;
    }
    Ok(Exit::Success)
}

fn run(args: RunArgs, work: &Workplace<'_>, console: &mut Console<'_>) -> Result<Exit, Failed> {
    let query = work.query(&args.query)?;
    let given = work.given(&args.selection, args.parameters.param);
    let statement = work.statement(query, &given, console.wall_ns())?;
    ask(&statement, &args.output, work, console)
}

fn sql(args: SqlArgs, work: &Workplace<'_>, console: &mut Console<'_>) -> Result<Exit, Failed> {
    let sql = match args.sql {
        Some(sql) => sql,
        None => console.read_statement()?,
    };
    let given = args.selection.values();
    let statement =
        Statement::of_sql(&sql, work.around(&given, console.wall_ns())).map_err(of_statement)?;
    ask(&statement, &args.output, work, console)
}

fn around(
    args: &AroundArgs,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let place: Place = args.place.parse().map_err(Failed::usage)?;
    let mut given = args.selection.values();
    for (name, value) in [
        ("src", place.src),
        ("epoch", place.epoch.to_string()),
        ("off", place.off.to_string()),
        ("before", args.before.to_string()),
        ("after", args.after.to_string()),
    ] {
        given.insert(name.to_owned(), value);
    }
    let query = work.query("around")?;
    let statement = work.statement(query, &given, console.wall_ns())?;
    ask(&statement, &args.output, work, console)
}

/// Asks an engine and writes the answer.
fn ask(
    statement: &Statement,
    args: &OutputArgs,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let target = args.target(console);
    let options = args.options(&target, statement.chart.as_ref(), console);
    if target.format == Format::Chart && statement.chart.is_none() {
        let text = "this question has no chart: its query's header does not say what is drawn";
        return Err(Failed::usage(text)
            .with_hint("`-- chart: COLUMN, COLUMN` in a query of your own says it"));
    }
    if target.format == Format::Parquet
        && target.file.is_none()
        && console.surroundings.is_terminal()
    {
        return Err(Failed::usage("a Parquet file is not for a terminal")
            .with_hint("write -o FILE.parquet"));
    }
    let kind = work.config.engine;
    let engine = console.open_engine(kind, &work.config)?;
    if !args.quiet {
        foretell(statement, work, console)?;
    }
    let viewer = if args.quiet {
        crate::progress::Viewer::Nobody
    } else {
        console.surroundings.viewer
    };
    let mut file = target.file.as_deref().map(NewFile::create).transpose()?;
    let answered = {
        let out = match &mut file {
            Some(file) => file.writer(),
            None => &mut *console.out,
        };
        crate::run::block_on(&console.interrupts, async |stop| {
            ask::answer(&engine, &statement.sql, options, out, viewer, stop).await
        })
    };
    let Answered { rows, stats } = match (answered, file) {
        (Ok(answered), Some(file)) => {
            file.keep()?;
            answered
        }
        (Ok(answered), None) => answered,
        (Err(failed), file) => {
            if let Some(file) = file {
                file.drop_part();
            }
            // What stands in standard output already goes first.
            let _ = console.out.flush();
            return Err(failed);
        }
    };
    console.out.flush().map_err(unwritten)?;
    if let Some(damage) = stats::damage(&stats) {
        console.say(&damage);
    }
    if !args.quiet {
        console.say(&stats::line(rows, &stats, kind.word()));
    }
    Ok(Exit::Success)
}

/// Says what a statement will read at most, and until when the archive is complete. That this cannot be known stops nobody.
fn foretell(
    statement: &Statement,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<(), Failed> {
    let (Some(selection), Ok((store, _))) = (&statement.selection, work.store()) else {
        return Ok(());
    };
    let hours = estimate::hours_of(selection.times_ns.start, selection.times_ns.end);
    let clusters = [selection.cluster.clone()];
    let now_ns = console.wall_ns();
    let dollars_per_tb = match work.config.engine {
        EngineKind::Athena => work.config.athena.dollars_per_tb,
        EngineKind::Embedded => 0.0,
    };
    let said = crate::run::block_on(&console.interrupts, async |stop| {
        let outside = Outside::new(crate::engine::random);
        let look = async {
            tokio::join!(
                estimate::estimate(&*store, &clusters, &hours, &outside),
                freshness::freshness(&store, now_ns, &outside)
            )
        };
        tokio::select! {
            (estimated, fresh) = look => Ok([
                estimated.map_or_else(
                    |error| format!("what it will read is not known: {}", joblog::causes::chain(&error)),
                    |estimate| {
                        let estimate = estimate.of(statement.scans, work.config.engine);
                        estimate.text(dollars_per_tb)
                    },
                ),
                fresh.map_or_else(
                    |error| format!("until when it is complete is not known: {}", joblog::causes::chain(&error)),
                    |fresh| fresh.text(now_ns),
                ),
            ]),
            // The statement itself is told, and says so.
            () = stop.cancelled() => Ok(Default::default()),
        }
    })?;
    for line in said.iter().filter(|line| !line.is_empty()) {
        console.say(line);
    }
    Ok(())
}

fn ddl(args: &DdlArgs, work: &Workplace<'_>, console: &mut Console<'_>) -> Result<Exit, Failed> {
    let plan = planned(&args.tables, args.dialect, work, console)?;
    print_statements(&plan.statements(args.dialect), console)
}

fn setup(
    args: &SetupArgs,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let plan = planned(&args.tables, Dialect::Athena, work, console)?;
    if args.dry_run {
        return print_statements(&plan.statements(Dialect::Athena), console);
    }
    let engine = console.open_engine(EngineKind::Athena, &work.config)?;
    let done = crate::run::block_on(&console.interrupts, async |stop| {
        tables::bring_up_to_date(&engine, &plan, stop).await
    })?;
    if done.is_empty() {
        console.say("everything is as it should be; nothing was changed");
    }
    print_statements(&done, console)
}

fn publish(
    args: &PublishArgs,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let given = args.selection.values();
    let queries =
        publications::publications(work.catalogue, work.around(&given, console.wall_ns()))
            .map_err(of_statement)?;
    if args.dry_run {
        write!(console.out, "{}", publications::text(&queries)).map_err(unwritten)?;
        return Ok(Exit::Success);
    }
    let engine = console.open_engine(EngineKind::Athena, &work.config)?;
    let said = crate::run::block_on(&console.interrupts, async |stop| {
        Ok(engine.publish(&queries, stop).await?)
    })?;
    for line in said {
        writeln!(console.out, "{line}").map_err(unwritten)?;
    }
    Ok(Exit::Success)
}

fn doctor(
    args: &DoctorArgs,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let mut findings = vec![match &work.config.file {
        Some(file) => Finding::fine(format!("configuration {}", file.display())),
        None => Finding::note("there is no configuration file; flags and defaults are used"),
    }];
    findings.extend(doctor::of_catalogue(work.catalogue));
    match work.store() {
        Ok((store, _)) => {
            let now = Hour::of_ns(console.wall_ns());
            findings.extend(crate::run::block_on(&console.interrupts, async |_| {
                Ok(doctor::of_archive(&*store, now).await)
            })?);
        }
        Err(failed) => findings.push(Finding::bad(failed.chain())),
    }
    match console.open_engine(work.config.engine, &work.config) {
        Err(failed) => findings.push(Finding::bad(failed.chain())),
        Ok(engine) => {
            for name in doctor::CHECKS {
                findings.push(checked(name, &engine, args, work, console)?);
            }
        }
    }
    match doctor::print(&findings, console.out).map_err(unwritten)? {
        Health::Well => Ok(Exit::Success),
        Health::Ill => Ok(Exit::Failed),
    }
}

/// Rows that one of doctor's questions may answer with.
const CHECK_LIMIT: usize = 100;

/// Asks one of doctor's questions. That it cannot be asked is a finding, unless the person wants to stop.
fn checked(
    name: &str,
    engine: &Engine,
    args: &DoctorArgs,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Finding, Failed> {
    let mut given = args.selection.values();
    given.insert("limit".to_owned(), CHECK_LIMIT.to_string());
    let asked = work
        .query(name)
        .and_then(|query| work.statement(query, &given, console.wall_ns()))
        .and_then(|statement| {
            crate::run::block_on(&console.interrupts, async |stop| {
                ask::rows(engine, &statement.sql, stop).await
            })
        });
    match asked {
        Ok((rows, _)) => Ok(doctor::of_check(name, rows.len(), CHECK_LIMIT)),
        Err(failed) if matches!(failed.exit, Exit::Interrupted | Exit::Terminated) => Err(failed),
        Err(failed) => Ok(Finding::bad(format!("{name}: {}", failed.chain()))),
    }
}

/// What tables there are to be made: by flags alone, or by a look at the archive.
fn planned(
    args: &TableArgs,
    dialect: Dialect,
    work: &Workplace<'_>,
    console: &mut Console<'_>,
) -> Result<Plan, Failed> {
    let root = work.config.archive.clone().ok_or_else(no_archive)?;
    let wanted = Wanted {
        database: work.config.athena.database.clone(),
        table: work.config.table.clone(),
        root,
        encoding: args.encoding.map(Into::into),
    };
    let refused = |error: PlanError| match error {
        PlanError::Empty { .. } => Failed::new(Exit::NotFound, error),
        PlanError::NotS3 { .. } => Failed::usage(error),
        error => Failed::new(Exit::Failed, error),
    };
    wanted.check(dialect).map_err(refused)?;
    for cluster in &args.cluster {
        archive::key::cluster_prefix(cluster).map_err(Failed::usage)?;
    }
    if let (Some(encoding), Some(first_hour), false) =
        (wanted.encoding, args.first_hour, args.cluster.is_empty())
    {
        let table = wanted.table(&wanted.table, encoding, args.cluster.clone(), first_hour);
        return Ok(Plan {
            tables: vec![table],
            view: None,
            notes: Vec::new(),
        });
    }
    let (store, _) = work.store()?;
    let now = Hour::of_ns(console.wall_ns());
    let mut surveys = crate::run::block_on(&console.interrupts, async |_| {
        survey::survey(&*store, now)
            .await
            .map_err(|error| Failed::new(Exit::Unreachable, error))
    })?;
    if !args.cluster.is_empty() {
        surveys.retain(|survey| args.cluster.contains(&survey.cluster));
    }
    let mut plan = plan(&wanted, &surveys).map_err(refused)?;
    if let Some(first_hour) = args.first_hour {
        for table in &mut plan.tables {
            table.first_hour = first_hour;
        }
    }
    for note in &plan.notes {
        console.say(note);
    }
    Ok(plan)
}

fn print_statements(statements: &[String], console: &mut Console<'_>) -> Result<Exit, Failed> {
    for (at, statement) in statements.iter().enumerate() {
        let between = if at > 0 { "\n" } else { "" };
        writeln!(console.out, "{between}{statement};").map_err(unwritten)?;
    }
    Ok(Exit::Success)
}

pub(crate) fn no_archive() -> Failed {
    Failed::usage("no archive is said")
        .with_hint("write --archive s3://BUCKET/PREFIX or file:///FOLDER, or `archive = \"…\"` into the configuration")
}

/// A statement that cannot be made is a matter of what was typed.
fn of_statement(error: StatementError) -> Failed {
    Failed::usage(error)
}

impl Workplace<'_> {
    fn query(&self, name: &str) -> Result<&Query, Failed> {
        self.catalogue.get(name).map_err(|unknown: Unknown| {
            // It may be one whose file is broken.
            let problems = self.catalogue.problems.iter();
            let hint: Vec<String> = std::iter::once("`queries ls` lists them".to_owned())
                .chain(problems.map(|problem| joblog::causes::chain(problem)))
                .collect();
            Failed::new(Exit::NotFound, unknown).with_hint(hint.join("; "))
        })
    }

    /// All values that were given.
    fn given(&self, selection: &SelectionArgs, params: Vec<(String, String)>) -> Values {
        let mut given = selection.values();
        given.extend(self.flags.clone());
        given.extend(params);
        given
    }

    fn statement(&self, query: &Query, given: &Values, now_ns: i64) -> Result<Statement, Failed> {
        Statement::of_query(query, self.around(given, now_ns)).map_err(|error| {
            let is_about_parameters = matches!(
                error,
                StatementError::Missing { .. } | StatementError::Unknown { .. }
            );
            let failed = of_statement(error);
            if is_about_parameters {
                failed.with_hint(format!(
                    "`queries show {}` lists its parameters",
                    query.name
                ))
            } else {
                failed
            }
        })
    }

    fn around<'a>(&'a self, given: &'a Values, now_ns: i64) -> Surroundings<'a> {
        Surroundings {
            given,
            configured: &self.config.defaults,
            table: &self.config.table,
            now_ns,
        }
    }

    fn store(&self) -> Result<(Arc<dyn Store>, &Root), Failed> {
        let root = self.config.archive.as_ref().ok_or_else(no_archive)?;
        let store = store::open(root, &self.config.s3).map_err(Failed::usage)?;
        Ok((store, root))
    }
}

impl OutputArgs {
    /// How and where to.
    fn target(&self, console: &Console<'_>) -> Target {
        if let Some(target) = &self.output {
            return target.clone();
        }
        let format = if self.vertical {
            Format::Vertical
        } else if console.surroundings.is_terminal() {
            Format::Table
        } else {
            Format::Csv
        };
        Target { format, file: None }
    }

    fn options(&self, target: &Target, chart: Option<&Chart>, console: &Console<'_>) -> Options {
        Options {
            format: target.format,
            header: if self.no_header {
                Header::Hidden
            } else {
                Header::Shown
            },
            fit: match (self.wide, self.wrap) {
                (true, _) => Fit::Wide,
                (false, true) => Fit::Wrapped,
                (false, false) => Fit::Cut,
            },
            page: match target.file {
                Some(_) => Page {
                    columns: None,
                    reader: Reader::Program,
                },
                None => console.page(),
            },
            chart: chart.cloned(),
        }
    }
}
