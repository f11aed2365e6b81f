//! Regular expressions, in what Java's and Rust's have in common: look-around and back-references are refused by name, since the
//! answer would need another kind of engine.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result};
use regex::{Captures, Regex, RegexBuilder};

use super::Function;
use super::arguments::{Arguments, Values};
use crate::embedded::error::{Code, Trouble, invalid};

/// The most that a compiled expression may take, in bytes.
const MAX_COMPILED_BYTES: usize = 10 << 20;

/// Expressions that are kept compiled while a batch is worked on, at most.
const MAX_KEPT: usize = 256;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("regexp_like", &["varchar, varchar -> boolean"], |a| {
        let text = a.texts(0);
        let mut patterns = Patterns::new(a.texts(1));
        a.give_booleans(|row| {
            let (Some(text), Some(pattern)) = (text.get(row), patterns.get(row)?) else {
                return Ok(None);
            };
            Ok(Some(pattern.is_match(text)))
        })
    }),
    Function::new(
        "regexp_extract",
        &[
            "varchar, varchar -> varchar",
            "varchar, varchar, bigint -> varchar",
        ],
        extract,
    ),
    Function::new(
        "regexp_extract_all",
        &[
            "varchar, varchar -> array(varchar)",
            "varchar, varchar, bigint -> array(varchar)",
        ],
        extract_all,
    ),
    Function::new(
        "regexp_replace",
        &[
            "varchar, varchar -> varchar",
            "varchar, varchar, varchar -> varchar",
        ],
        replace,
    ),
    Function::new("regexp_count", &["varchar, varchar -> bigint"], |a| {
        let text = a.texts(0);
        let mut patterns = Patterns::new(a.texts(1));
        a.give_numbers(|row| {
            let (Some(text), Some(pattern)) = (text.get(row), patterns.get(row)?) else {
                return Ok(None);
            };
            Ok(Some(matches(&pattern, text).count() as i64))
        })
    }),
    Function::new(
        "regexp_position",
        &[
            "varchar, varchar -> integer",
            "varchar, varchar, bigint -> integer",
        ],
        position,
    ),
    Function::new(
        "regexp_split",
        &["varchar, varchar -> array(varchar)"],
        |a| {
            let text = a.texts(0);
            let mut patterns = Patterns::new(a.texts(1));
            a.give_text_lists(|row| {
                let (Some(text), Some(pattern)) = (text.get(row), patterns.get(row)?) else {
                    return Ok(None);
                };
                let mut parts = Vec::new();
                let mut from = 0;
                for found in matches(&pattern, text).filter_map(|captures| captures.get(0)) {
                    parts.push(Some(text[from..found.start()].to_owned()));
                    from = found.end();
                }
                parts.push(Some(text[from..].to_owned()));
                Ok(Some(parts))
            })
        },
    ),
];

/// All matches, as Java looks for them: an empty one can stand right behind one that is not, which Rust's own search leaves out.
fn matches<'t>(pattern: &Regex, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
    let mut from = Some(0);
    std::iter::from_fn(move || {
        let captures = pattern.captures_at(text, from?)?;
        let found = captures.get(0)?;
        from = if found.is_empty() {
            let next = text[found.end()..].chars().next();
            next.map(|next| found.end() + next.len_utf8())
        } else {
            Some(found.end())
        };
        Some(captures)
    })
}

/// An argument of patterns, compiled: mostly one for all rows.
struct Patterns<'a> {
    texts: Values<'a, datafusion::arrow::array::StringViewArray>,
    kept: HashMap<String, Arc<Regex>>,
    only: Option<Arc<Regex>>,
}

impl<'a> Patterns<'a> {
    fn new(texts: Values<'a, datafusion::arrow::array::StringViewArray>) -> Self {
        Self {
            texts,
            kept: HashMap::new(),
            only: None,
        }
    }

    fn get(&mut self, row: usize) -> Result<Option<Arc<Regex>>> {
        if let Some(only) = &self.only {
            return Ok(Some(Arc::clone(only)));
        }
        let Some(pattern) = self.texts.get(row) else {
            return Ok(None);
        };
        if let Some(kept) = self.kept.get(pattern) {
            return Ok(Some(Arc::clone(kept)));
        }
        let compiled = Arc::new(compile(pattern)?);
        if self.texts.is_constant() {
            self.only = Some(Arc::clone(&compiled));
        } else {
            if self.kept.len() == MAX_KEPT {
                self.kept.clear();
            }
            self.kept.insert(pattern.to_owned(), Arc::clone(&compiled));
        }
        Ok(Some(compiled))
    }
}

/// An expression as Java means it.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
    if let Some(what) = beyond(pattern) {
        return Trouble::new(
            Code::NotSupported,
            format!("{what} in the regular expression '{pattern}': the embedded engine has none, write it without"),
        )
        .raise();
    }
    let translated = translate(pattern);
    RegexBuilder::new(&translated)
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| {
            let reason = error.to_string();
            let reason = reason
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            DataFusionError::from(Trouble::new(
                Code::InvalidFunctionArgument,
                format!("'{pattern}' is not a valid regular expression: {reason}"),
            ))
        })
}

/// What the expression has that Rust's have not.
fn beyond(pattern: &str) -> Option<&'static str> {
    let mut characters = pattern.char_indices();
    let mut depth = 0;
    while let Some((place, one)) = characters.next() {
        let rest = &pattern[place..];
        match one {
            '\\' => match characters.next() {
                Some((_, '1'..='9' | 'k')) if depth == 0 => return Some("a back-reference"),
                Some((_, 'Q')) => {
                    // All up to \E stands for itself.
                    let end = rest
                        .find("\\E")
                        .map_or(pattern.len(), |end| place + end + 2);
                    while characters
                        .clone()
                        .next()
                        .is_some_and(|(next, _)| next < end)
                    {
                        characters.next();
                    }
                }
                Some((_, 'G')) => return Some("\\G"),
                _ => {}
            },
            '[' => depth += 1,
            ']' if depth > 0 => depth -= 1,
            '(' if depth == 0 => {
                if rest.starts_with("(?=") || rest.starts_with("(?!") {
                    return Some("a look-ahead");
                }
                if rest.starts_with("(?<=") || rest.starts_with("(?<!") {
                    return Some("a look-behind");
                }
                if rest.starts_with("(?>") {
                    return Some("an atomic group");
                }
            }
            '*' | '+' | '?' | '}' if depth == 0 && rest[1..].starts_with('+') => {
                return Some("a possessive quantifier");
            }
            _ => {}
        }
    }
    None
}

/// The same in Rust's words: Java's classes are of ASCII, its `$` also stands before a last newline, and `\Q…\E` quotes.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut depth = 0_usize;
    while let Some(one) = rest.chars().next() {
        let mut len = one.len_utf8();
        match one {
            '\\' => {
                let next = rest[1..].chars().next();
                len += next.map_or(0, char::len_utf8);
                let inside = depth > 0;
                match next {
                    Some('d') if inside => out.push_str("0-9"),
                    Some('d') => out.push_str("[0-9]"),
                    Some('D') if !inside => out.push_str("[^0-9]"),
                    Some('w') if inside => out.push_str("A-Za-z0-9_"),
                    Some('w') => out.push_str("[A-Za-z0-9_]"),
                    Some('W') if !inside => out.push_str("[^A-Za-z0-9_]"),
                    Some('s') if inside => out.push_str(" \\t\\n\\x0B\\f\\r"),
                    Some('s') => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
                    Some('S') if !inside => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
                    Some('D') => out.push_str("[^0-9]"),
                    Some('W') => out.push_str("[^A-Za-z0-9_]"),
                    Some('S') => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
                    Some('h') if inside => out.push_str(" \\t"),
                    Some('h') => out.push_str("[ \\t]"),
                    Some('R') if !inside => out.push_str("(?:\\r\\n|[\\n\\x0B\\f\\r])"),
                    Some('Z') if !inside => out.push_str("\\n?\\z"),
                    Some('e') => out.push_str("\\x1B"),
                    Some('Q') => {
                        let quoted = &rest[2..];
                        let end = quoted.find("\\E").unwrap_or(quoted.len());
                        out.push_str(&regex::escape(&quoted[..end]));
                        len = (2 + end + 2).min(rest.len());
                    }
                    Some('u') => out.push_str("\\u"),
                    Some(other) if other.is_ascii_alphanumeric() => {
                        out.push('\\');
                        out.push(other);
                    }
                    // A backslash before anything else stands for that.
                    Some(other) => out.push_str(&regex::escape(&other.to_string())),
                    None => out.push('\\'),
                }
            }
            '[' => {
                depth += 1;
                out.push('[');
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(']');
            }
            '(' if depth == 0 && rest.starts_with("(?<") => {
                out.push_str("(?P<");
                len = 3;
            }
            '.' if depth == 0 => out.push('.'),
            // Java takes a brace that begins no repetition for itself only where it is quoted, as Rust does.
            other => out.push(other),
        }
        rest = &rest[len..];
    }
    out
}

fn group(pattern: &Regex, wanted: i64) -> Result<usize> {
    let groups = pattern.captures_len() - 1;
    if wanted < 0 {
        return invalid("Group cannot be negative");
    }
    match usize::try_from(wanted) {
        Ok(wanted) if wanted <= groups => Ok(wanted),
        _ => invalid(format!(
            "Pattern has {groups} groups. Cannot access group {wanted}"
        )),
    }
}

fn extract(a: &Arguments) -> Result<ArrayRef> {
    let text = a.texts(0);
    let mut patterns = Patterns::new(a.texts(1));
    let wanted = (a.len() == 3).then(|| a.numbers(2));
    a.give_texts(|row| {
        let wanted = match &wanted {
            Some(wanted) => wanted.get(row),
            None => Some(0),
        };
        let (Some(text), Some(pattern), Some(wanted)) = (text.get(row), patterns.get(row)?, wanted)
        else {
            return Ok(None);
        };
        if wanted == 0 {
            return Ok(pattern.find(text).map(|found| found.as_str()));
        }
        let wanted = group(&pattern, wanted)?;
        let found = pattern
            .captures(text)
            .and_then(|captures| captures.get(wanted));
        Ok(found.map(|found| found.as_str()))
    })
}

fn extract_all(a: &Arguments) -> Result<ArrayRef> {
    let text = a.texts(0);
    let mut patterns = Patterns::new(a.texts(1));
    let wanted = (a.len() == 3).then(|| a.numbers(2));
    a.give_text_lists(|row| {
        let wanted = match &wanted {
            Some(wanted) => wanted.get(row),
            None => Some(0),
        };
        let (Some(text), Some(pattern), Some(wanted)) = (text.get(row), patterns.get(row)?, wanted)
        else {
            return Ok(None);
        };
        let wanted = group(&pattern, wanted)?;
        let all = matches(&pattern, text);
        let of =
            |captures: Captures<'_>| captures.get(wanted).map(|found| found.as_str().to_owned());
        Ok(Some(all.map(of).collect()))
    })
}

fn replace(a: &Arguments) -> Result<ArrayRef> {
    let text = a.texts(0);
    let mut patterns = Patterns::new(a.texts(1));
    let with = (a.len() == 3).then(|| a.texts(2));
    a.give_texts(|row| {
        let with = match &with {
            Some(with) => with.get(row),
            None => Some(""),
        };
        let (Some(text), Some(pattern), Some(with)) = (text.get(row), patterns.get(row)?, with)
        else {
            return Ok(None);
        };
        let parts = Part::of(with, &pattern)?;
        let mut out = String::new();
        let mut from = 0;
        for captures in matches(&pattern, text) {
            let Some(found) = captures.get(0) else {
                continue;
            };
            out.push_str(&text[from..found.start()]);
            from = found.end();
            for part in &parts {
                match part {
                    Part::Text(text) => out.push_str(text),
                    Part::Group(group) => {
                        out.push_str(captures.get(*group).map_or("", |found| found.as_str()));
                    }
                }
            }
        }
        out.push_str(&text[from..]);
        Ok(Some(out))
    })
}

/// A part of what a match is replaced with.
enum Part {
    Text(String),
    Group(usize),
}

impl Part {
    /// `$1` and `${name}` are groups, and a backslash quotes.
    fn of(with: &str, pattern: &Regex) -> Result<Vec<Self>> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut characters = with.chars().peekable();
        while let Some(one) = characters.next() {
            match one {
                '\\' => match characters.next() {
                    Some(quoted) => text.push(quoted),
                    None => return invalid(format!("Illegal replacement sequence: {with}")),
                },
                '$' => {
                    let place = match characters.peek() {
                        Some('{') => {
                            characters.next();
                            let name: String =
                                characters.by_ref().take_while(|one| *one != '}').collect();
                            pattern
                                .capture_names()
                                .position(|known| known == Some(name.as_str()))
                        }
                        Some(digit) if digit.is_ascii_digit() => {
                            // As many digits as there are groups for.
                            let mut place = 0;
                            while let Some(digit) =
                                characters.peek().and_then(|digit| digit.to_digit(10))
                            {
                                let longer = place * 10 + digit as usize;
                                if place > 0 && longer >= pattern.captures_len() {
                                    break;
                                }
                                place = longer;
                                characters.next();
                            }
                            Some(place).filter(|place| *place < pattern.captures_len())
                        }
                        _ => None,
                    };
                    let Some(place) = place else {
                        return invalid(format!("Illegal replacement sequence: {with}"));
                    };
                    parts.push(Self::Text(std::mem::take(&mut text)));
                    parts.push(Self::Group(place));
                }
                other => text.push(other),
            }
        }
        parts.push(Self::Text(text));
        Ok(parts)
    }
}

fn position(a: &Arguments) -> Result<ArrayRef> {
    let text = a.texts(0);
    let mut patterns = Patterns::new(a.texts(1));
    let start = (a.len() == 3).then(|| a.numbers(2));
    a.give_numbers(|row| {
        let start = match &start {
            Some(start) => start.get(row),
            None => Some(1),
        };
        let (Some(text), Some(pattern), Some(start)) = (text.get(row), patterns.get(row)?, start)
        else {
            return Ok(None);
        };
        if start < 1 {
            return invalid("start position cannot be smaller than 1");
        }
        let from = text.char_indices().nth(start as usize - 1);
        let from = match from {
            Some((place, _)) => place,
            None if start as usize == text.chars().count() + 1 => text.len(),
            None => return Ok(Some(-1)),
        };
        let found = pattern.find_at(text, from);
        Ok(Some(found.map_or(-1, |found| {
            text[..found.start()].chars().count() as i64 + 1
        })))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_has_not_is_refused_by_name() {
        for (pattern, what) in [
            ("a(?=b)", "look-ahead"),
            ("(?<!a)b", "look-behind"),
            (r"(a)\1", "back-reference"),
            ("(?>a)", "atomic"),
            ("a++", "possessive"),
        ] {
            let message = compile(pattern).unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
        }
        assert!(
            compile("(")
                .unwrap_err()
                .to_string()
                .contains("not a valid regular expression")
        );
    }

    #[test]
    fn classes_are_of_ascii() {
        let matches = |pattern: &str, text: &str| compile(pattern).unwrap().is_match(text);
        assert!(matches(r"^\d+$", "12"));
        assert!(!matches(r"^\d$", "\u{663}"));
        assert!(!matches(r"^\w$", "é"));
        assert!(matches(r"^[\w-]+$", "a-b"));
        assert!(matches(r"^[^\s,]+$", "ab"));
        assert!(matches(r"\Qa.b\E", "a.b"));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches(r"(?<name>x)\/", "x/"));
        assert!(matches(r"(?i)ERROR", "error"));
    }
}
