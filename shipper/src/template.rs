//! Texts with fields, by which a rule says whose a file is: `{cluster}/web/prod/{1}`.

use std::fmt;

/// The longest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 1024;

/// A text with fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Field),
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// `{cluster}`
    Cluster,
    /// `{host}`
    Host,
    /// `{file}`: the file's name.
    File,
    /// `{N}`: what the path's Nth wildcard matched, from 1.
    Wildcard(usize),
}

/// What the fields stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// `{cluster}`
    pub cluster: &'a str,
    /// `{host}`
    pub host: &'a str,
    /// `{file}`
    pub file: &'a [u8],
    /// `{1}` and so on.
    pub wildcards: &'a [&'a [u8]],
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such field.
    #[error(
        "there is no field `{{{0}}}`; there is {{cluster}}, {{host}}, {{file}}, and {{1}} for what the first wildcard of the path matches"
    )]
    Unknown(String),
    /// A brace without its partner.
    #[error("a brace without its partner")]
    Brace,
    /// Longer than [`MAX_TEMPLATE_BYTES`].
    #[error("a template has at most {MAX_TEMPLATE_BYTES} bytes")]
    TooLong,
    /// There is no such wildcard in a path.
    #[error("`{{{wanted}}}` speaks of a wildcard that `{pattern}` does not have: it has {there}")]
    Wildcard {
        /// Its number.
        wanted: usize,
        /// The pattern.
        pattern: String,
        /// How many it has.
        there: usize,
    },
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            if at > 0 {
                parts.push(Part::Literal(rest[..at].to_owned()));
            }
            let inside = rest[at..].strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (name, after) = inside.split_once('}').ok_or(TemplateError::Brace)?;
            parts.push(Part::Field(match name {
                "cluster" => Field::Cluster,
                "host" => Field::Host,
                "file" => Field::File,
                _ => match name.parse::<usize>() {
                    Ok(number) if number > 0 && name.bytes().all(|b| b.is_ascii_digit()) => {
                        Field::Wildcard(number)
                    }
                    _ => return Err(TemplateError::Unknown(name.escape_debug().to_string())),
                },
            }));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }
}

impl Template {
    /// Checks that a pattern has the wildcards that the template speaks of.
    pub fn check(&self, pattern: &crate::pattern::Pattern) -> Result<(), TemplateError> {
        for part in &self.parts {
            if let Part::Field(Field::Wildcard(wanted)) = part
                && *wanted > pattern.wildcards()
            {
                return Err(TemplateError::Wildcard {
                    wanted: *wanted,
                    pattern: pattern.to_string(),
                    there: pattern.wildcards(),
                });
            }
        }
        Ok(())
    }

    /// The text with its fields filled. `change` is applied to what comes from a path, so that it can stand where it stands.
    pub fn fill(&self, values: &Values<'_>, change: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Field(Field::Cluster) => text.push_str(values.cluster),
                Part::Field(Field::Host) => text.push_str(&change(values.host)),
                Part::Field(Field::File) => {
                    text.push_str(&change(&String::from_utf8_lossy(values.file)));
                }
                Part::Field(Field::Wildcard(number)) => {
                    let bytes = values
                        .wildcards
                        .get(number - 1)
                        .copied()
                        .unwrap_or_default();
                    text.push_str(&change(&String::from_utf8_lossy(bytes)));
                }
            }
        }
        text
    }
}

/// A text with everything that cannot stand in a job key's part replaced by `-`.
pub fn key_part(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let values = Values {
            cluster: "aa",
            host: "node7",
            file: b"app.log",
            wildcards: &[b"one", b"t/w o", b"\xff"],
        };
        let template: Template = template.parse().expect("a template");
        assert_eq!(template.fill(&values, key_part), expected);
    }

    #[test]
    fn fields_are_filled() {
        check("{cluster}/web/prod/{1}", "aa/web/prod/one");
        check("{2}{3}", "t-w-o-");
        check("{host}:{file}", "node7:app.log");
        check("plain", "plain");
        check("{9}", "");
    }

    #[test]
    fn what_is_no_template() {
        for text in [
            "{", "}", "{cluster", "a}b", "{}", "{0}", "{+1}", "{job}", "{{1}}",
        ] {
            assert!(text.parse::<Template>().is_err(), "{text:?}");
        }
        assert_eq!(
            "x".repeat(2000).parse::<Template>(),
            Err(TemplateError::TooLong)
        );
    }

    #[test]
    fn wildcards_must_exist() {
        let pattern = "/var/log/*.log".parse().expect("a pattern");
        let template = |text: &str| text.parse::<Template>().expect("a template");
        assert_eq!(template("{1}").check(&pattern), Ok(()));
        assert!(template("{2}").check(&pattern).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text: String) {
            if let Ok(template) = text.parse::<Template>() {
                let values = Values { cluster: "c", host: "h", file: b"f", wildcards: &[] };
                template.fill(&values, key_part);
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
