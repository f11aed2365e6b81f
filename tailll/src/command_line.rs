//! A command line: a program and its arguments, split from one text as a shell would split it. No shell runs it, and nothing
//! in it is expanded.

use std::fmt;
use std::str::FromStr;

/// The longest command line, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4096;

/// A program and its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<String>,
}

/// Why a text is no [`CommandLine`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// There is no word in it.
    #[error("the command is empty: write for example `ssh`")]
    Empty,
    /// A quotation mark has no partner.
    #[error("a {0} in the command is not closed")]
    Open(char),
    /// It ends in a backslash.
    #[error("the command ends in a backslash")]
    Backslash,
    /// Something that cannot be passed to a program.
    #[error("the command has a NUL in it")]
    Nul,
    /// It is too long.
    #[error("the command is longer than {MAX_COMMAND_BYTES} bytes")]
    Long,
}

impl CommandLine {
    /// The program.
    pub fn program(&self) -> &str {
        &self.words[0]
    }

    /// What it gets before anything else.
    pub fn arguments(&self) -> &[String] {
        &self.words[1..]
    }
}

/// A word in single quotes, as a POSIX shell reads it.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// As somebody could have typed it.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                f.write_str(word)?;
            } else {
                f.write_str(&quote(word))?;
            }
        }
        Ok(())
    }
}

impl FromStr for CommandLine {
    type Err = CommandLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_COMMAND_BYTES {
            return Err(CommandLineError::Long);
        }
        if text.contains('\0') {
            return Err(CommandLineError::Nul);
        }
        let mut words = Vec::new();
        // There is a word as soon as there is a character or a pair of quotation marks.
        let mut word: Option<String> = None;
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                c if c.is_ascii_whitespace() => words.extend(word.take()),
                '\'' => {
                    let word = word.get_or_insert_default();
                    loop {
                        match rest.next().ok_or(CommandLineError::Open('\''))? {
                            '\'' => break,
                            c => word.push(c),
                        }
                    }
                }
                '"' => {
                    let word = word.get_or_insert_default();
                    loop {
                        match rest.next().ok_or(CommandLineError::Open('"'))? {
                            '"' => break,
                            '\\' => match rest.next().ok_or(CommandLineError::Open('"'))? {
                                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                                c => word.extend(['\\', c]),
                            },
                            c => word.push(c),
                        }
                    }
                }
                '\\' => {
                    let c = rest.next().ok_or(CommandLineError::Backslash)?;
                    word.get_or_insert_default().push(c);
                }
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        if words.first().is_none_or(String::is_empty) {
            return Err(CommandLineError::Empty);
        }
        Ok(Self { words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        for (text, expected) in [
            ("ssh", &["ssh"][..]),
            ("  ssh  -J\tjump ", &["ssh", "-J", "jump"]),
            ("'/a b/ssh' -v", &["/a b/ssh", "-v"]),
            (
                r#"ssh -o "User Known" x\ y"#,
                &["ssh", "-o", "User Known", "x y"],
            ),
            (
                r#"ssh "a\"b\\c\d" 'it'\''s'"#,
                &["ssh", r#"a"b\c\d"#, "it's"],
            ),
            ("ssh '' \"\"", &["ssh", "", ""]),
            ("ssh $HOME `id` ;x", &["ssh", "$HOME", "`id`", ";x"]),
        ] {
            let line: CommandLine = text.parse().expect(text);
            assert_eq!(line.words, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_said() {
        for (text, expected) in [
            ("", CommandLineError::Empty),
            (" \n ", CommandLineError::Empty),
            ("'' x", CommandLineError::Empty),
            ("ssh 'x", CommandLineError::Open('\'')),
            ("ssh \"x\\", CommandLineError::Open('"')),
            ("ssh x\\", CommandLineError::Backslash),
            ("ssh \0", CommandLineError::Nul),
        ] {
            assert_eq!(text.parse::<CommandLine>(), Err(expected), "{text:?}");
        }
        assert_eq!(
            "x".repeat(MAX_COMMAND_BYTES + 1).parse::<CommandLine>(),
            Err(CommandLineError::Long)
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_split_to_the_same_words(words in proptest::collection::vec("[^\0]{0,12}", 0..5)) {
            let mut words = words;
            words.insert(0, "ssh".to_owned());
            let line = CommandLine { words };
            proptest::prop_assert_eq!(line.to_string().parse::<CommandLine>(), Ok(line));
        }
    }
}
