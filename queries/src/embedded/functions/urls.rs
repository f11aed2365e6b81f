//! Addresses of the web, and their parts.

use std::fmt::Write as _;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;

use super::Function;
use super::arguments::Arguments;
use crate::embedded::error::invalid;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("url_extract_protocol", &["varchar -> varchar"], |a| {
        part(a, |url| Some(url.protocol))
    }),
    Function::new("url_extract_host", &["varchar -> varchar"], |a| {
        part(a, |url| url.host)
    }),
    Function::new("url_extract_path", &["varchar -> varchar"], |a| {
        part(a, |url| Some(url.path))
    }),
    Function::new("url_extract_query", &["varchar -> varchar"], |a| {
        part(a, |url| url.query)
    }),
    Function::new("url_extract_fragment", &["varchar -> varchar"], |a| {
        part(a, |url| url.fragment)
    }),
    Function::new("url_extract_port", &["varchar -> bigint"], |a| {
        let text = a.texts(0);
        a.give_numbers(|row| {
            Ok(text
                .get(row)
                .and_then(Url::parse)
                .and_then(|url| url.port?.parse().ok()))
        })
    }),
    Function::new(
        "url_extract_parameter",
        &["varchar, varchar -> varchar"],
        |a| {
            let (text, name) = (a.texts(0), a.texts(1));
            a.give_texts(|row| {
                let (Some(text), Some(name)) = (text.get(row), name.get(row)) else {
                    return Ok(None);
                };
                let query = Url::parse(text)
                    .and_then(|url| url.query)
                    .unwrap_or_default();
                let found = query.split('&').find_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (key == name).then_some(value)
                });
                Ok(found.map(|value| decode(value).unwrap_or_else(|| value.to_owned())))
            })
        },
    ),
    Function::new("url_decode", &["varchar -> varchar"], |a| {
        let text = a.texts(0);
        a.give_texts(|row| {
            let Some(text) = text.get(row) else {
                return Ok(None);
            };
            match decode(text) {
                Some(decoded) => Ok(Some(decoded)),
                None => invalid(format!("Invalid escape sequence in '{text}'")),
            }
        })
    }),
    Function::new("url_encode", &["varchar -> varchar"], |a| {
        let text = a.texts(0);
        a.give_texts(|row| {
            Ok(text.get(row).map(|text| {
                let mut out = String::new();
                for byte in text.bytes() {
                    match byte {
                        b' ' => out.push('+'),
                        b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
                        byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
                        byte => {
                            let _ = write!(out, "%{byte:02X}");
                        }
                    }
                }
                out
            }))
        })
    }),
];

/// An address, in parts. What is no address has none.
struct Url<'u> {
    protocol: &'u str,
    host: Option<&'u str>,
    port: Option<&'u str>,
    path: &'u str,
    query: Option<&'u str>,
    fragment: Option<&'u str>,
}

impl<'u> Url<'u> {
    fn parse(text: &'u str) -> Option<Self> {
        if text.contains(|one: char| {
            one.is_whitespace()
                || matches!(one, '<' | '>' | '"' | '{' | '}' | '|' | '\\' | '^' | '`')
        }) {
            return None;
        }
        let (text, fragment) = split(text, '#');
        let (text, query) = split(text, '?');
        let (protocol, rest) = match text.split_once(':') {
            Some((protocol, rest)) if !protocol.contains('/') => (protocol, rest),
            _ => ("", text),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        let address = authority.map(|authority| {
            authority
                .rsplit_once('@')
                .map_or(authority, |(_, address)| address)
        });
        let (host, port) = match address {
            Some(address) => match address.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (Some(host), Some(port))
                }
                _ => (Some(address), None),
            },
            None => (None, None),
        };
        Some(Self {
            protocol,
            host,
            port,
            path,
            query,
            fragment,
        })
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

fn part(a: &Arguments, of: for<'u> fn(Url<'u>) -> Option<&'u str>) -> Result<ArrayRef> {
    let text = a.texts(0);
    a.give_texts(|row| {
        Ok(text
            .get(row)
            .and_then(Url::parse)
            .map(|url| of(url).unwrap_or_default()))
    })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&pair).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
