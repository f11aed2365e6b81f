//! Paths into JSON texts, as `json_extract` takes them: `$.a.b`, `$["a b"]`, `$[0]`. The text is stepped through, not built up, and what
//! lies behind the found value is not looked at.

use datafusion::common::Result;

use crate::embedded::error::invalid;
use crate::rows;

/// The deepest nesting that is stepped into.
const MAX_DEPTH: usize = 512;

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self> {
        match Self::steps(text) {
            Some(steps) => Ok(Self(steps)),
            None => invalid(format!("Invalid JSON path: '{text}'")),
        }
    }

    fn steps(text: &str) -> Option<Vec<String>> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        let is_word = |one: char| one == '_' || one.is_alphanumeric();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let len = after
                    .find(|one: char| !is_word(one) && one != ':')
                    .unwrap_or(after.len());
                if len == 0 {
                    return None;
                }
                steps.push(after[..len].to_owned());
                rest = &after[len..];
            } else if let Some(after) = rest.strip_prefix("[\"") {
                let mut key = String::new();
                let mut characters = after.char_indices();
                let end = loop {
                    match characters.next()? {
                        (_, '\\') => key.push(characters.next()?.1),
                        (place, '"') => break place,
                        (_, one) => key.push(one),
                    }
                };
                steps.push(key);
                rest = after[end + 1..].strip_prefix(']')?;
            } else {
                let after = rest.strip_prefix('[')?;
                let end = after.find(']')?;
                let key = &after[..end];
                if key.is_empty() || !key.chars().all(is_word) {
                    return None;
                }
                steps.push(key.to_owned());
                rest = &after[end + 1..];
            }
        }
        Some(steps)
    }

    /// The JSON that the path leads to in a text, as it stands there; none if it leads nowhere or the text is no JSON until there.
    pub(super) fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let bytes = text.as_bytes();
        let mut at = blanks(bytes, 0);
        for step in &self.0 {
            at = match bytes.get(at)? {
                b'{' => member(text, at, step)?,
                b'[' => element(bytes, at, step.parse().ok()?)?,
                _ => return None,
            };
        }
        let end = skip(bytes, at, 0)?;
        Some(&text[at..end])
    }
}

/// Where the value of a key begins in the object here.
fn member(text: &str, at: usize, key: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = blanks(bytes, at + 1);
    while bytes.get(at)? == &b'"' {
        let end = skip(bytes, at, 0)?;
        let found = &text[at + 1..end - 1];
        let is_it =
            found == key || (found.contains('\\') && unescape(found).as_deref() == Some(key));
        at = blanks(bytes, end);
        if bytes.get(at)? != &b':' {
            return None;
        }
        at = blanks(bytes, at + 1);
        if is_it {
            return Some(at);
        }
        at = blanks(bytes, skip(bytes, at, 0)?);
        if bytes.get(at)? != &b',' {
            return None;
        }
        at = blanks(bytes, at + 1);
    }
    None
}

/// Where an element begins in the array here.
fn element(bytes: &[u8], at: usize, index: usize) -> Option<usize> {
    let mut at = blanks(bytes, at + 1);
    if bytes.get(at)? == &b']' {
        return None;
    }
    for _ in 0..index {
        at = blanks(bytes, skip(bytes, at, 0)?);
        if bytes.get(at)? != &b',' {
            return None;
        }
        at = blanks(bytes, at + 1);
    }
    Some(at)
}

/// The elements of the array that a JSON text is.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let bytes = text.as_bytes();
    let mut at = blanks(bytes, 0);
    if bytes.get(at)? != &b'[' {
        return None;
    }
    at = blanks(bytes, at + 1);
    let mut all = Vec::new();
    if bytes.get(at)? == &b']' {
        return Some(all);
    }
    loop {
        let end = skip(bytes, at, 0)?;
        all.push(&text[at..end]);
        at = blanks(bytes, end);
        match bytes.get(at)? {
            b',' => at = blanks(bytes, at + 1),
            b']' => return Some(all),
            _ => return None,
        }
    }
}

fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// The place behind the value that begins here.
fn skip(bytes: &[u8], mut at: usize, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    match *bytes.get(at)? {
        b'"' => {
            at += 1;
            loop {
                at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
                if bytes[at] == b'"' {
                    return Some(at + 1);
                }
                at += 2;
            }
        }
        open @ (b'{' | b'[') => {
            let close = if open == b'{' { b'}' } else { b']' };
            at = blanks(bytes, at + 1);
            if bytes.get(at)? == &close {
                return Some(at + 1);
            }
            loop {
                if open == b'{' {
                    if bytes.get(at)? != &b'"' {
                        return None;
                    }
                    at = blanks(bytes, skip(bytes, at, depth)?);
                    if bytes.get(at)? != &b':' {
                        return None;
                    }
                    at = blanks(bytes, at + 1);
                }
                at = blanks(bytes, skip(bytes, at, depth + 1)?);
                match *bytes.get(at)? {
                    b',' => at = blanks(bytes, at + 1),
                    byte if byte == close => return Some(at + 1),
                    _ => return None,
                }
            }
        }
        _ => {
            let start = at;
            while let Some(byte) = bytes.get(at)
                && (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
            {
                at += 1;
            }
            let word = &bytes[start..at];
            let is_one = matches!(word, b"true" | b"false" | b"null")
                || (word
                    .first()
                    .is_some_and(|first| first.is_ascii_digit() || *first == b'-')
                    && word.iter().any(u8::is_ascii_digit)
                    && word.iter().all(|byte| {
                        byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
                    }));
            is_one.then_some(at)
        }
    }
}

/// A JSON text's inside without its escapes.
pub(super) fn unescape(inside: &str) -> Option<String> {
    if !inside.contains('\\') {
        return Some(inside.to_owned());
    }
    serde_json::from_str(&format!("\"{inside}\"")).ok()
}

/// A JSON text in Trino's form: without the blanks between its parts, fractions as Java prints them, and texts with the least escapes.
pub(super) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_value = !matches!(
            bytes[at],
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n'
        );
        let end = if is_value {
            skip(bytes, at, 0).unwrap_or(bytes.len())
        } else {
            at + 1
        };
        let part = &json[at..end];
        match bytes[at] {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' if part.contains('\\') => match unescape(&part[1..part.len() - 1]) {
                Some(text) => out.push_str(&serde_json::Value::String(text).to_string()),
                None => out.push_str(part),
            },
            b'0'..=b'9' | b'-' => match part.parse::<f64>() {
                Ok(number) if part.contains(['.', 'e', 'E']) && number.is_finite() => {
                    out.push_str(&rows::double(number));
                }
                // What is too large for a double is a text.
                Ok(number) if part.contains(['.', 'e', 'E']) => {
                    out.push('"');
                    out.push_str(&rows::double(number));
                    out.push('"');
                }
                _ => out.push_str(part),
            },
            _ => out.push_str(part),
        }
        at = end;
    }
    out
}

/// The scalar that a JSON text is, as text; none if it is NULL, an object or an array.
pub(super) fn scalar(json: &str) -> Option<std::borrow::Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'{' | b'[' => None,
        b'"' => {
            let inside = &json[1..json.len() - 1];
            if inside.contains('\\') {
                unescape(inside).map(Into::into)
            } else {
                Some(inside.into())
            }
        }
        _ if json == "null" => None,
        _ => Some(json.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let json = r#" {"a": {"b c": [1, {"d":"x\"y"}, null]}, "e-f": 2.50, "\u0061b": true} "#;
        for (path, expected) in [
            ("$.a.x", None),
            (r#"$.a["b c"][0]"#, Some("1")),
            (r#"$.a["b c"][1].d"#, Some(r#""x\"y""#)),
            (r#"$.a["b c"][2]"#, Some("null")),
            (r#"$.a["b c"][3]"#, None),
            (r#"$["e-f"]"#, Some("2.50")),
            ("$.ab", Some("true")),
            ("$[a][b]", None),
        ] {
            assert_eq!(Path::parse(path).unwrap().find(json), expected, "{path}");
        }
        for path in ["", "a", "$.", "$..a", "$[", "$[]", "$.*", "$['a']", "$.e-f"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_no_json_leads_nowhere() {
        for json in [
            "",
            "{",
            r#"{"a""#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            "[1,",
            "nonsense",
        ] {
            let found = Path::parse("$.b").unwrap().find(json);
            assert_eq!(found, None, "{json}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Path::parse("$.a").unwrap().find(&deep), None);
    }
}
