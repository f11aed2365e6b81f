//! Conditions on fields: `status>=500 and not path~="^/health"`.
//!
//! Owns the language of `--where` and its answer for one line. Fields are those of a JSON line, dotted for those within
//! others, or the `key=value` of any other line. Some names are not fields but what is known of every line; see [`Known`].
//! Which lines a verdict holds for is `filter.rs`'s.
//!
//! A line is read once, without building a tree: only the fields that the condition names are looked for.

use std::borrow::Cow;
use std::cmp::Ordering;

use joblog::{Level, Record};
use regex::bytes::{Regex, RegexBuilder};

use crate::source::{FileLabel, Source};

/// The longest condition in bytes.
const MAX_CONDITION_BYTES: usize = 4_096;

/// The most different fields that the conditions may name together.
const MAX_FIELDS: usize = 16;

/// How deep parentheses and `not` may be nested.
const MAX_DEPTH: usize = 32;

/// How deep in a JSON line a dotted name may reach.
const MAX_JSON_DEPTH: usize = 16;

/// The most memory in bytes that one compiled pattern may take.
const COMPILED_BYTES: usize = 8 << 20;

/// What the lines of one source must hold.
#[derive(Debug, Clone)]
pub struct Condition {
    node: Node,
    /// The names of the fields, by number.
    fields: Vec<String>,
}

/// Why a text is no [`Condition`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--where: {what}\n  {text}\n  {:>1$}", '^', text[..*at].chars().count() + 1)]
pub struct ConditionError {
    text: String,
    /// The offset in bytes of what is wrong, at most the text's length.
    at: usize,
    what: String,
}

#[derive(Debug, Clone)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Compare { name: Name, test: Test },
    Exists(Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Known(Known),
    /// By its number.
    Field(usize),
}

/// What is known of every line, and is no field. A leading dot (`.level`) names the field of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// How serious it is.
    Level,
    /// The message of a JSON line; any other line itself.
    Message,
    /// The logger of a JSON line.
    Logger,
    /// The instance's number.
    Instance,
    /// The host.
    Host,
    /// The process.
    Process,
    /// `stdout` or `stderr`.
    Stream,
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "level" => Self::Level,
            "message" => Self::Message,
            "logger" => Self::Logger,
            "instance" => Self::Instance,
            "host" => Self::Host,
            "process" => Self::Process,
            "stream" => Self::Stream,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
enum Test {
    Order(Operator, Literal),
    Level(Operator, Level),
    Matches(Regex),
    MatchesNot(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// What a value is compared with.
#[derive(Debug, Clone)]
struct Literal {
    text: String,
    /// Where it was written without quotes and is one.
    number: Option<Number>,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn of(bytes: &[u8]) -> Option<Self> {
        if !matches!(bytes.first()?, b'0'..=b'9' | b'-' | b'+' | b'.') {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        match text.parse() {
            Ok(integer) => Some(Self::Integer(integer)),
            Err(_) => text
                .parse()
                .ok()
                .filter(|float: &f64| float.is_finite())
                .map(Self::Float),
        }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

/// What is known of a source, as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    instance: Option<String>,
    host: String,
    process: Option<String>,
    stream: Option<&'static str>,
}

impl Labels {
    /// Of a source.
    pub fn of(source: &Source) -> Self {
        let (process, stream) = match &source.file {
            FileLabel::Process {
                process, stream, ..
            } => (Some(process.clone()), Some(stream.name())),
            FileLabel::Executor { stream } => (None, Some(stream.name())),
            FileLabel::Plain { .. } => (None, None),
        };
        Self {
            instance: source.instance.instance.map(|number| number.to_string()),
            host: source.instance.host.clone(),
            process,
            stream,
        }
    }
}

/// A value as it stands in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    /// What stands between quotes, with its escapes.
    Quoted(&'a [u8]),
    /// Anything else.
    Bare(&'a [u8]),
}

impl<'a> Value<'a> {
    fn bytes(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bare(bytes) => Cow::Borrowed(bytes),
            Self::Quoted(bytes) if memchr::memchr(b'\\', bytes).is_none() => Cow::Borrowed(bytes),
            Self::Quoted(bytes) => {
                let quoted = [b"\"", bytes, b"\""].concat();
                // What is no JSON text is compared as it stands.
                match serde_json::from_slice::<String>(&quoted) {
                    Ok(text) => Cow::Owned(text.into_bytes()),
                    Err(_) => Cow::Borrowed(bytes),
                }
            }
        }
    }
}

impl Condition {
    /// All of the texts must hold.
    pub fn all(texts: &[String]) -> Result<Option<Self>, ConditionError> {
        let mut fields = Vec::new();
        let mut nodes = Vec::new();
        for text in texts {
            nodes.push(Parser::parse(text, &mut fields)?);
        }
        Ok((!nodes.is_empty()).then_some(Self {
            node: Node::All(nodes),
            fields,
        }))
    }

    /// Whether it holds for a line. A comparison with what a line does not have does not hold, `!=` included.
    pub fn holds(&self, line: &[u8], record: &Record<'_>, labels: &Labels) -> bool {
        let mut values = [None; MAX_FIELDS];
        if !self.fields.is_empty() {
            if record.json.is_some() {
                Walker::find(line, &self.fields, &mut values);
            } else {
                for (value, name) in values.iter_mut().zip(&self.fields) {
                    *value = key_value(line, name.as_bytes());
                }
            }
        }
        let subject = Subject {
            line,
            record,
            labels,
            values: &values,
        };
        subject.holds(&self.node)
    }
}

/// A line, and the values of the fields that are asked for.
struct Subject<'a> {
    line: &'a [u8],
    record: &'a Record<'a>,
    labels: &'a Labels,
    values: &'a [Option<Value<'a>>; MAX_FIELDS],
}

impl<'a> Subject<'a> {
    fn holds(&self, node: &Node) -> bool {
        match node {
            Node::All(nodes) => nodes.iter().all(|node| self.holds(node)),
            Node::Any(nodes) => nodes.iter().any(|node| self.holds(node)),
            Node::Not(node) => !self.holds(node),
            Node::Exists(Name::Known(Known::Level)) => self.record.level.is_some(),
            Node::Exists(name) => self.value(*name).is_some(),
            Node::Compare {
                test: Test::Level(operator, level),
                ..
            } => self
                .record
                .level
                .is_some_and(|own| operator.holds(own.cmp(level))),
            Node::Compare { name, test } => {
                self.value(*name).is_some_and(|value| test.holds(&value))
            }
        }
    }

    fn value(&self, name: Name) -> Option<Cow<'a, [u8]>> {
        let text = |text: &'a str| Cow::Borrowed(text.as_bytes());
        match name {
            Name::Field(number) => Some((*self.values.get(number)?)?.bytes()),
            Name::Known(Known::Level) => self.record.level.map(|level| text(level.name())),
            Name::Known(Known::Message) => match &self.record.json {
                Some(json) => json.message.as_deref().map(text),
                None => Some(Cow::Borrowed(self.line)),
            },
            Name::Known(Known::Logger) => self.record.json.as_ref()?.logger.as_deref().map(text),
            Name::Known(Known::Instance) => self.labels.instance.as_deref().map(text),
            Name::Known(Known::Host) => Some(text(&self.labels.host)),
            Name::Known(Known::Process) => self.labels.process.as_deref().map(text),
            Name::Known(Known::Stream) => self.labels.stream.map(text),
        }
    }
}

impl Test {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Order(operator, literal) => {
                let order = match literal.number {
                    Some(number) => match Number::of(value) {
                        Some(own) => own.compare(number),
                        // Text is neither less nor more than a number.
                        None => {
                            return *operator == Operator::NotEqual;
                        }
                    },
                    None => Some(value.cmp(literal.text.as_bytes())),
                };
                order.is_some_and(|order| operator.holds(order))
            }
            Self::Level(..) => false,
            Self::Matches(pattern) => pattern.is_match(value),
            Self::MatchesNot(pattern) => !pattern.is_match(value),
        }
    }
}

/// Reads a condition from left to right.
struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    fields: &'t mut Vec<String>,
}

impl<'t> Parser<'t> {
    fn parse(text: &'t str, fields: &'t mut Vec<String>) -> Result<Node, ConditionError> {
        let mut parser = Self {
            text,
            at: 0,
            depth: 0,
            fields,
        };
        if text.len() > MAX_CONDITION_BYTES {
            return Err(ConditionError {
                text: text.chars().take(40).chain(['…']).collect(),
                at: 0,
                what: format!("longer than {MAX_CONDITION_BYTES} bytes"),
            });
        }
        let node = parser.any()?;
        parser.skip_blanks();
        if parser.at < text.len() {
            return Err(parser.error(parser.at, "expected `and`, `or` or the end"));
        }
        Ok(node)
    }

    fn error(&self, at: usize, what: impl Into<String>) -> ConditionError {
        ConditionError {
            text: self.text.to_owned(),
            at,
            what: what.into(),
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes a word of the language if it comes next.
    fn keyword(&mut self, word: &str) -> bool {
        self.skip_blanks();
        let rest = self.rest();
        let is_next = rest
            .get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(is_name_char);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.skip_blanks();
        let is_next = self.rest().starts_with(symbol);
        if is_next {
            self.at += symbol.len();
        }
        is_next
    }

    fn any(&mut self) -> Result<Node, ConditionError> {
        let mut nodes = vec![self.all()?];
        while self.keyword("or") || self.symbol("||") {
            nodes.push(self.all()?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn all(&mut self) -> Result<Node, ConditionError> {
        let mut nodes = vec![self.one()?];
        while self.keyword("and") || self.symbol("&&") {
            nodes.push(self.one()?);
        }
        Ok(one_or(nodes, Node::All))
    }

    fn one(&mut self) -> Result<Node, ConditionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(self.at, format!("nested deeper than {MAX_DEPTH}")));
        }
        let node = self.nested();
        self.depth -= 1;
        node
    }

    fn nested(&mut self) -> Result<Node, ConditionError> {
        if self.keyword("not") {
            return Ok(Node::Not(Box::new(self.one()?)));
        }
        if self.symbol("(") {
            let node = self.any()?;
            self.close()?;
            return Ok(node);
        }
        let before = self.at;
        if self.keyword("exists") && self.symbol("(") {
            let name = self.name()?;
            self.close()?;
            return Ok(Node::Exists(name));
        }
        self.at = before;
        let name = self.name()?;
        let test = self.test(name)?;
        Ok(Node::Compare { name, test })
    }

    fn close(&mut self) -> Result<(), ConditionError> {
        if self.symbol(")") {
            Ok(())
        } else {
            Err(self.error(self.at, "expected `)`"))
        }
    }

    fn name(&mut self) -> Result<Name, ConditionError> {
        self.skip_blanks();
        let start = self.at;
        if self.rest().starts_with(['"', '\'']) {
            let name = self.quoted()?;
            return self.field(name, start);
        }
        let length = self
            .rest()
            .find(|c| !is_name_char(c))
            .unwrap_or(self.rest().len());
        let name = &self.rest()[..length];
        self.at += length;
        if let Some(known) = Known::of(name) {
            return Ok(Name::Known(known));
        }
        let name = name.strip_prefix('.').unwrap_or(name);
        if name.is_empty() {
            return Err(self.error(
                start,
                "expected a name: a field such as status or http.method, or one of level, message, logger, instance, \
                 host, process, stream",
            ));
        }
        self.field(name.to_owned(), start)
    }

    fn field(&mut self, name: String, at: usize) -> Result<Name, ConditionError> {
        if let Some(number) = self.fields.iter().position(|field| *field == name) {
            return Ok(Name::Field(number));
        }
        if self.fields.len() == MAX_FIELDS {
            return Err(self.error(at, format!("more than {MAX_FIELDS} different fields")));
        }
        self.fields.push(name);
        Ok(Name::Field(self.fields.len() - 1))
    }

    fn test(&mut self, name: Name) -> Result<Test, ConditionError> {
        self.skip_blanks();
        let start = self.at;
        // Longer ones first.
        for symbol in ["!~=", "~="] {
            if self.symbol(symbol) {
                let (text, at) = self.value(symbol)?;
                let pattern = RegexBuilder::new(&text)
                    .size_limit(COMPILED_BYTES)
                    .build()
                    .map_err(|error| self.error(at, format!("bad pattern {text:?}: {error}")))?;
                return Ok(if symbol == "~=" {
                    Test::Matches(pattern)
                } else {
                    Test::MatchesNot(pattern)
                });
            }
        }
        for (symbol, operator) in [
            ("!=", Operator::NotEqual),
            (">=", Operator::GreaterOrEqual),
            ("<=", Operator::LessOrEqual),
            ("==", Operator::Equal),
            ("=", Operator::Equal),
            (">", Operator::Greater),
            ("<", Operator::Less),
        ] {
            if !self.symbol(symbol) {
                continue;
            }
            self.skip_blanks();
            let is_quoted = self.rest().starts_with(['"', '\'']);
            let (text, at) = self.value(symbol)?;
            if name == Name::Known(Known::Level) {
                let level = Level::from_word(text.as_bytes()).ok_or_else(|| {
                    self.error(
                        at,
                        "expected a level: trace, debug, info, warn, error or fatal",
                    )
                })?;
                return Ok(Test::Level(operator, level));
            }
            let number = if is_quoted {
                None
            } else {
                Number::of(text.as_bytes())
            };
            return Ok(Test::Order(operator, Literal { text, number }));
        }
        Err(self.error(start, "expected one of = != > >= < <= ~= !~="))
    }

    /// What a comparison is with, and where it begins.
    fn value(&mut self, symbol: &str) -> Result<(String, usize), ConditionError> {
        self.skip_blanks();
        let start = self.at;
        if self.rest().starts_with(['"', '\'']) {
            return Ok((self.quoted()?, start));
        }
        let length = self
            .rest()
            .find(|c: char| c.is_whitespace() || "()\"'=!<>~".contains(c))
            .unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error(start, format!("expected a value after `{symbol}`")));
        }
        let text = self.rest()[..length].to_owned();
        self.at += length;
        Ok((text, start))
    }

    /// Between quotes of either kind; a backslash takes the next quote or backslash as it is, and stays before anything else.
    fn quoted(&mut self) -> Result<String, ConditionError> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map_or('"', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at = start + at + 1;
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some((_, next)) if next == quote || next == '\\' => text.push(next),
                Some((_, next)) => text.extend(['\\', next]),
                None => break,
            }
        }
        Err(self.error(start, "this quote is not closed"))
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || "_.@$-/".contains(c)
}

fn one_or(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1 {
        nodes.remove(0)
    } else {
        join(nodes)
    }
}

/// How much of each field's name the objects around have matched; [`Walker::NONE`] where they are not on its way.
type Matched = [u16; MAX_FIELDS];

/// Walks over a JSON line to the fields that are asked for.
struct Walker<'f, 'a, 'v> {
    line: &'a [u8],
    at: usize,
    fields: &'f [String],
    values: &'v mut [Option<Value<'a>>; MAX_FIELDS],
    missing: usize,
}

impl<'a> Walker<'_, 'a, '_> {
    const NONE: u16 = u16::MAX;

    /// Finds what it can: a line that breaks off keeps what came before.
    fn find(line: &'a [u8], fields: &[String], values: &mut [Option<Value<'a>>; MAX_FIELDS]) {
        let Some(at) = memchr::memchr(b'{', line) else {
            return;
        };
        let mut matched = [Self::NONE; MAX_FIELDS];
        matched[..fields.len()].fill(0);
        // Nothing means that the line ended early, or that everything was found.
        let _ = Walker {
            line,
            at,
            fields,
            values,
            missing: fields.len(),
        }
        .object(0, &matched);
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn object(&mut self, depth: usize, matched: &Matched) -> Option<()> {
        self.at += 1;
        loop {
            self.skip_blanks();
            match self.peek()? {
                b',' => {
                    self.at += 1;
                    continue;
                }
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                b'"' => {}
                _ => return None,
            }
            let key = self.string()?;
            self.skip_blanks();
            if self.peek()? != b':' {
                return None;
            }
            self.at += 1;
            self.skip_blanks();
            let mut inner = [Self::NONE; MAX_FIELDS];
            let mut wanted = [false; MAX_FIELDS];
            let (mut is_wanted, mut is_on_the_way) = (false, false);
            for (number, field) in self.fields.iter().enumerate() {
                if matched[number] == Self::NONE || self.values[number].is_some() {
                    continue;
                }
                let rest = &field.as_bytes()[usize::from(matched[number])..];
                if rest == key {
                    wanted[number] = true;
                    is_wanted = true;
                } else if rest.len() > key.len() && rest[key.len()] == b'.' && rest.starts_with(key)
                {
                    // Names are no longer than a condition.
                    inner[number] = matched[number] + key.len() as u16 + 1;
                    is_on_the_way = true;
                }
            }
            let start = self.at;
            let is_text = self.peek()? == b'"';
            if is_on_the_way && depth < MAX_JSON_DEPTH && self.peek()? == b'{' {
                self.object(depth + 1, &inner)?;
            } else {
                self.skip_value()?;
            }
            if is_wanted {
                let value = if is_text {
                    Value::Quoted(&self.line[start + 1..self.at - 1])
                } else {
                    Value::Bare(&self.line[start..self.at])
                };
                for (number, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
                    self.values[number] = Some(value);
                    self.missing -= 1;
                }
                if self.missing == 0 {
                    return None;
                }
            }
        }
    }

    /// A text from its opening quote on; what stands between the quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.line.get(at..)?)?;
            if self.line[at] == b'"' {
                self.at = at + 1;
                return Some(&self.line[start..at]);
            }
            at += 2;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ if depth == 0 => {
                    let rest = &self.line[self.at..];
                    let length = rest.iter().position(|byte| {
                        matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n')
                    })?;
                    // A comma where a value should be.
                    if length == 0 {
                        return None;
                    }
                    self.at += length;
                }
                _ => self.at += 1,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The value of `name=value` in a line that is no JSON.
fn key_value<'a>(line: &'a [u8], name: &[u8]) -> Option<Value<'a>> {
    for at in memchr::memmem::find_iter(line, name) {
        let begins = at == 0
            || matches!(
                line[at - 1],
                b' ' | b'\t' | b'[' | b'(' | b'{' | b',' | b';'
            );
        let Some(rest) = line[at + name.len()..].strip_prefix(b"=") else {
            continue;
        };
        if !begins {
            continue;
        }
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut end = 0;
            while let Some(&byte) = quoted.get(end) {
                match byte {
                    b'"' => return Some(Value::Quoted(&quoted[..end])),
                    b'\\' => end += 2,
                    _ => end += 1,
                }
            }
        }
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b')' | b']' | b'}'))
            .unwrap_or(rest.len());
        return Some(Value::Bare(&rest[..end]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use joblog::RecordParser;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Condition, ConditionError> {
        Condition::all(&[text.to_owned()]).map(|condition| condition.expect("one text"))
    }

    fn holds(condition: &Condition, line: &[u8]) -> bool {
        let labels = Labels {
            instance: Some("3".into()),
            host: "node7".into(),
            process: Some("server".into()),
            stream: Some("stderr"),
        };
        let record = RecordParser::new(TimeZone::UTC, 0).parse(line);
        condition.holds(line, &record, &labels)
    }

    const LINE: &str = r#"{"@timestamp":"2026-11-01T09:00:00Z","level":"WARN","message":"say \"hi\"","logger_name":"a.b.C","status":503,"took":1.5,"ok":true,"none":null,"user":"77","big":12345678901234567891,"http":{"method":"GET","deep":{"er":[1,{"x":2}]}},"a.b":"flat","list":[1,2],"text":"a\u0062c"}"#;

    #[test]
    fn comparisons_with_fields_of_json() {
        for text in [
            "status>=500",
            "status = 503",
            "status==503",
            "status!=200",
            "status<504",
            "took>1",
            "took<=1.50",
            "ok=true",
            "none=null",
            "user=77",
            "user='77'",
            "big=12345678901234567891",
            "http.method=GET",
            "http.method ~= '^G'",
            "http.method!~=POST",
            "a.b=flat",
            "list='[1,2]'",
            "text=abc",
            "http.deep.er='[1,{\"x\":2}]'",
            "exists(status)",
            "exists(http.deep)",
            "not exists(nothing)",
            "level>=warn",
            "level=WARNING",
            "level<error",
            "message='say \"hi\"'",
            "logger=a.b.C",
            ".level=WARN",
            "instance=3",
            "instance<10",
            "host=node7",
            "process=server",
            "stream=stderr",
            "status=1 or status=503",
            "status=1 or (status=503 and ok=true)",
            "NOT status=1 AND took>1",
            "not not ok=true",
            "status=503 or status=1 and ok=false",
            "\"a.b\"=flat",
            "user>'700'",
            "message!=5",
            "status>4e2",
        ] {
            assert!(holds(&parse(text).unwrap(), LINE.as_bytes()), "{text}");
        }
        for text in [
            "status<500",
            "status!=503",
            "nothing=1",
            "nothing!=1",
            "not exists(ok)",
            "level>warn",
            "message>5",
            "big=12345678901234567890",
            "http.method.x=1",
            "http=GET",
            "er=1",
            "(status=503 or status=1) and ok=false",
            "nothing~=.",
            "nothing!~=.",
            "deep.er=1",
            "took='1.50'",
        ] {
            assert!(!holds(&parse(text).unwrap(), LINE.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_lines_have_their_keys_and_values() {
        let line = b"2026-11-01 09:00:00 WARN [status=503] path=\"/a b\" xstatus=1 took=5,n=2";
        for text in [
            "status=503",
            "path='/a b'",
            "took<6",
            "n=2",
            "message~=WARN",
            "level=warn",
            "not exists(logger)",
        ] {
            assert!(holds(&parse(text).unwrap(), line), "{text}");
        }
        for text in ["status=1", "us=503", "b=1"] {
            assert!(!holds(&parse(text).unwrap(), line), "{text}");
        }
        assert!(holds(&parse("q='a'").unwrap(), b"q=a"));
        assert!(!holds(&parse("q=a").unwrap(), b"q=\"a"));
    }

    #[test]
    fn a_broken_line_keeps_what_came_before() {
        for end in [r#","c":"#, r#","c":{"d"#, r#","c":[1"#, "", r#","c"#, ",}"] {
            let line = format!(r#"{{"a":1,"b":"x"{end}"#);
            assert!(
                holds(
                    &parse("a=1 and b=x and not exists(c)").unwrap(),
                    line.as_bytes()
                ),
                "{line}"
            );
        }
    }

    #[test]
    fn errors_point_at_the_place() {
        let mut shown = Vec::new();
        for text in [
            "",
            "status",
            "status>=",
            "status>=500 and",
            "(a=1",
            "a=1 b=2",
            "a='x",
            "level>=loud",
            "a~='('",
            "=1",
            "a=1)",
            "äöü!1",
        ] {
            let error = parse(text).unwrap_err().to_string();
            let mut lines = error.lines();
            let what = lines.next().unwrap();
            let place = error.lines().last().unwrap().len() - 3;
            shown.push(format!("{text} [{place}] {what}"));
        }
        insta::assert_snapshot!(shown.join("\n"), @r#"
         [0] --where: expected a name: a field such as status or http.method, or one of level, message, logger, instance, host, process, stream
        status [6] --where: expected one of = != > >= < <= ~= !~=
        status>= [8] --where: expected a value after `>=`
        status>=500 and [15] --where: expected a name: a field such as status or http.method, or one of level, message, logger, instance, host, process, stream
        (a=1 [4] --where: expected `)`
        a=1 b=2 [4] --where: expected `and`, `or` or the end
        a='x [2] --where: this quote is not closed
        level>=loud [7] --where: expected a level: trace, debug, info, warn, error or fatal
        a~='(' [3] --where: bad pattern "(": regex parse error:
        =1 [0] --where: expected a name: a field such as status or http.method, or one of level, message, logger, instance, host, process, stream
        a=1) [3] --where: expected `and`, `or` or the end
        äöü!1 [3] --where: expected one of = != > >= < <= ~= !~=
        "#);
        assert!(parse(&"(".repeat(100)).is_err());
        assert!(parse(&"not ".repeat(100)).is_err());
        assert!(parse(&"a".repeat(5_000)).is_err());
        let many: Vec<String> = (0..20).map(|n| format!("f{n}=1")).collect();
        assert!(
            parse(&many.join(" or "))
                .unwrap_err()
                .to_string()
                .contains("16 different")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}", line in "\\PC{0,60}") {
            match parse(&text) {
                Ok(condition) => { holds(&condition, line.as_bytes()); }
                Err(error) => { let _ = error.to_string(); }
            }
        }

        #[test]
        fn words_of_the_language_in_any_order(words in prop::collection::vec(
            prop::sample::select(vec!["a", "and", "or", "not", "(", ")", "=", "!=", "~=", "1", "'x'", "exists", "level", "warn", ">="]), 0..12)) {
            if let Ok(condition) = parse(&words.join(" ")) {
                holds(&condition, br#"{"a":1,"level":"warn"}"#);
            }
        }

        #[test]
        fn a_number_is_found_as_the_library_finds_it(fields in prop::collection::btree_map("[a-d]{1,2}", -100..100_i64, 1..5), limit in -100..100_i64, name in "[a-d]{1,2}") {
            let line = serde_json::to_string(&fields).unwrap();
            let expected = fields.get(&name).is_some_and(|value| *value >= limit);
            prop_assert_eq!(holds(&parse(&format!("{name} >= {limit}")).unwrap(), line.as_bytes()), expected);
        }

        #[test]
        fn any_bytes_are_walked(line in prop::collection::vec(any::<u8>(), 0..80), json in "[\\[\\]{}\",:a1 \\\\]{0,40}") {
            let condition = parse("a=1 or a.b=2 or c~=x").unwrap();
            holds(&condition, &line);
            holds(&condition, format!("{{{json}").as_bytes());
        }
    }
}
