//! `--template`: a line as its reader wants it, by a text with fields in braces.
//!
//! Owns which fields there are and what they hold. The language is as small as that: `{field}`, `{.path}` or `{json.path}` for a
//! field of a JSON line, `{{` and `}}` for braces. What a line does not have is empty.

use std::str::FromStr;

use joblog::json::{Text, Value, find};

use crate::batch::Line;
use crate::escape;
use crate::fields;
use crate::json::push_number;
use crate::source::{FileLabel, Source};
use crate::stamp::{StampForm, Stamps};
use crate::styled::{Growing as _, Style, Styled};

/// The longest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 16 * 1024;

/// A template, ready to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Field),
    /// A path into a JSON line.
    Json(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Ts,
    Time,
    Level,
    Prefix,
    Job,
    Cluster,
    Role,
    Env,
    Name,
    Instance,
    Host,
    TaskId,
    Process,
    Run,
    Stream,
    File,
    Off,
    Line,
    Message,
    Logger,
}

/// The fields by name.
const FIELDS: [(&str, Field); 20] = [
    ("ts", Field::Ts),
    ("time", Field::Time),
    ("level", Field::Level),
    ("prefix", Field::Prefix),
    ("job", Field::Job),
    ("cluster", Field::Cluster),
    ("role", Field::Role),
    ("env", Field::Env),
    ("name", Field::Name),
    ("instance", Field::Instance),
    ("host", Field::Host),
    ("task_id", Field::TaskId),
    ("process", Field::Process),
    ("run", Field::Run),
    ("stream", Field::Stream),
    ("file", Field::File),
    ("off", Field::Off),
    ("line", Field::Line),
    ("message", Field::Message),
    ("logger", Field::Logger),
];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {problem}")]
pub struct TemplateError {
    /// The character where it goes wrong, from 1.
    pub position: usize,
    /// What is wrong there.
    pub problem: TemplateProblem,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    /// A field that there is not.
    #[error("there is no field `{}`; there is {}, and `.path` for a field of a JSON line", .0.escape_debug(), names())]
    Unknown(String),
    /// A brace without its partner.
    #[error("`{0}` without its partner; write `{0}{0}` for the character")]
    Brace(char),
    /// It has no field at all.
    #[error("there is no field in it; write for example `{{ts}} {{instance}} {{line}}`")]
    NoField,
    /// More than [`MAX_TEMPLATE_BYTES`].
    #[error("a template has at most {MAX_TEMPLATE_BYTES} bytes")]
    TooLong,
}

fn names() -> String {
    FIELDS.map(|(name, _)| name).join(", ")
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let fail = |at: usize, problem| TemplateError {
            position: text.get(..at).map_or(0, |before| before.chars().count()) + 1,
            problem,
        };
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(fail(0, TemplateProblem::TooLong));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(brace) = text[at..].find(['{', '}']) {
            literal.push_str(&text[at..at + brace]);
            at += brace;
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(&rest[..1]);
                at += 2;
                continue;
            }
            if rest.starts_with('}') {
                return Err(fail(at, TemplateProblem::Brace('}')));
            }
            let Some(length) = rest[1..]
                .find(['{', '}'])
                .filter(|end| rest[1 + end..].starts_with('}'))
            else {
                return Err(fail(at, TemplateProblem::Brace('{')));
            };
            let name = &rest[1..=length];
            let part = match name.strip_prefix("json.").or(name.strip_prefix('.')) {
                Some(path) if !path.is_empty() => Part::Json(path.to_owned()),
                _ => match FIELDS.iter().find(|(known, _)| *known == name) {
                    Some(&(_, field)) => Part::Field(field),
                    None => return Err(fail(at + 1, TemplateProblem::Unknown(name.to_owned()))),
                },
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
            at += length + 2;
        }
        literal.push_str(&text[at..]);
        if parts.is_empty() {
            return Err(fail(text.len(), TemplateProblem::NoField));
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }
}

/// What the fields are filled from.
pub(crate) struct Filling<'a> {
    pub(crate) line: &'a Line,
    pub(crate) bytes: &'a [u8],
    pub(crate) source: Option<&'a Source>,
    pub(crate) prefix: &'a str,
}

impl Template {
    /// Appends the line's text. What was a newline in a JSON text is visible as one and does not break the line.
    pub(crate) fn fill(&self, filling: &Filling<'_>, stamps: &mut Stamps, to: &mut Styled) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => to.push(text.as_bytes()),
                Part::Field(field) => fill_field(*field, filling, stamps, to),
                Part::Json(path) => match find(filling.bytes, path) {
                    Some(Value::Text(text)) => push_text(text, to),
                    Some(Value::Number(raw) | Value::Object(raw) | Value::Array(raw)) => {
                        to.push(raw);
                    }
                    Some(Value::Bool(value)) => {
                        to.push(if value { b"true" } else { b"false" });
                    }
                    Some(Value::Null) | None => {}
                },
            }
        }
    }
}

fn fill_field(field: Field, filling: &Filling<'_>, stamps: &mut Stamps, to: &mut Styled) {
    let start = to.text.len();
    let line = filling.line;
    let label = filling.source.map(|source| &source.instance);
    let key = label.and_then(|label| label.key.as_ref());
    let (process, stream) = match filling.source.map(|source| &source.file) {
        Some(FileLabel::Process {
            process,
            run,
            stream,
        }) => (Some((process, *run)), Some(*stream)),
        Some(FileLabel::Executor { stream }) => (None, Some(*stream)),
        Some(FileLabel::Plain { .. }) | None => (None, None),
    };
    let text: &str = match field {
        Field::Ts | Field::Time => {
            if field == Field::Ts {
                push_stamp(line, StampForm::Default, stamps, to);
            } else {
                push_stamp(line, StampForm::Time, stamps, to);
            }
            return;
        }
        Field::Level => {
            if let Some(level) = line.level {
                to.push_styled(level.name().as_bytes(), Style::Level(level));
            }
            return;
        }
        Field::Prefix => {
            to.push_styled(filling.prefix.as_bytes(), Style::Instance);
            return;
        }
        Field::Line => {
            to.push(filling.bytes);
            return;
        }
        Field::Off => {
            push_number(line.offset, &mut to.text);
            return;
        }
        Field::Run => {
            if let Some((_, run)) = process {
                push_number(u64::from(run), &mut to.text);
            }
            return;
        }
        Field::Instance => {
            if let Some(number) = label.and_then(|label| label.instance) {
                push_number(u64::from(number), &mut to.text);
                to.style_from(start, Style::Instance);
            }
            return;
        }
        Field::Message | Field::Logger => {
            let (message, logger) = if fields::is_candidate(filling.bytes) {
                fields::message_and_logger(filling.bytes)
            } else {
                (None, None)
            };
            match (field, message, logger) {
                (Field::Logger, _, Some(text)) | (Field::Message, Some(text), _) => {
                    push_text(text, to);
                }
                (Field::Message, None, _) => to.push(filling.bytes),
                _ => {}
            }
            return;
        }
        Field::File => {
            if let Some(source) = filling.source {
                escape::append(&source.path, &mut to.text);
            }
            return;
        }
        Field::Job => label.map_or("", |label| &label.job),
        Field::Cluster => key.map_or("", |key| key.cluster()),
        Field::Role => key.map_or("", |key| key.role()),
        Field::Env => key.map_or("", |key| key.env()),
        Field::Name => match (key, label) {
            (Some(key), _) => key.name(),
            (None, label) => label.map_or("", |label| &label.job),
        },
        Field::Host => label.map_or("", |label| &label.host),
        Field::TaskId => label
            .and_then(|label| label.task_id.as_deref())
            .unwrap_or_default(),
        Field::Process => process.map_or("", |(process, _)| process),
        Field::Stream => stream.map_or("", joblog::Stream::name),
    };
    escape::append(text.as_bytes(), &mut to.text);
    if matches!(field, Field::Job | Field::Name | Field::Host) {
        to.style_from(start, Style::Instance);
    }
}

/// Appends the line's own time; where it has none the one it is ordered by, marked.
pub(crate) fn push_stamp(line: &Line, form: StampForm, stamps: &mut Stamps, to: &mut Styled) {
    let start = to.text.len();
    if line.ts_ns.is_none() {
        to.push(b"~");
    }
    stamps.push(line.ts_ns.unwrap_or(line.order_ns), form, &mut to.text);
    to.style_from(start, Style::Dim);
}

fn push_text(text: Text<'_>, to: &mut Styled) {
    if text.has_escapes() {
        escape::append(text.decode().as_bytes(), &mut to.text);
    } else {
        to.push(text.raw());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Template>() {
            Ok(template) => format!("{:?}", template.parts),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_read() {
        let report: Vec<String> = [
            "{ts} {instance} {line}",
            "{{{json.status}}} {.http.status}",
            "{prefix}|{message}\n",
            "",
            "no field",
            "{",
            "}",
            "ä{tss}",
            "{json.}",
            "{.}",
            "{}",
            "{ts {line}",
            "{ts}}",
            "{\u{1b}[31m}",
        ]
        .iter()
        .map(|text| format!("{}: {}", text.escape_debug(), shown(text)))
        .collect();
        insta::assert_snapshot!(report.join("\n"));
        let long = "{ts}".repeat(MAX_TEMPLATE_BYTES);
        assert!(long.parse::<Template>().is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[{}a-c.tsä ]{0,40}|\\PC{0,40}") {
            if let Err(error) = text.parse::<Template>() {
                prop_assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}
