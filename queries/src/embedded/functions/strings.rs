//! Texts and bytes. Characters are code points, as in Trino.

use std::fmt::Write as _;

use datafusion::arrow::array::{Array as _, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arguments::Arguments;
use super::{Function, arrays};
use crate::embedded::error::{Code, Trouble, invalid};
use crate::embedded::text;
use crate::rows;

/// The longest text that padding or repeating makes, in characters.
const MAX_CHARACTERS: i64 = 1 << 20;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "length",
        &["varchar -> bigint", "varbinary -> bigint"],
        length,
    ),
    Function::new("upper", &["varchar -> varchar"], |a| {
        by_character(a, char::to_uppercase)
    }),
    Function::new("lower", &["varchar -> varchar"], |a| {
        by_character(a, char::to_lowercase)
    }),
    Function::new(
        "trim",
        &["varchar -> varchar", "varchar, varchar -> varchar"],
        |a| trim(a, |text, is_in| text.trim_matches(is_in)),
    ),
    Function::new(
        "ltrim",
        &["varchar -> varchar", "varchar, varchar -> varchar"],
        |a| trim(a, |text, is_in| text.trim_start_matches(is_in)),
    ),
    Function::new(
        "rtrim",
        &["varchar -> varchar", "varchar, varchar -> varchar"],
        |a| trim(a, |text, is_in| text.trim_end_matches(is_in)),
    ),
    Function::new(
        "replace",
        &[
            "varchar, varchar -> varchar",
            "varchar, varchar, varchar -> varchar",
        ],
        replace,
    ),
    Function::new("reverse", &["varchar -> varchar", "array -> =0"], reverse),
    Function::new(
        "strpos",
        &[
            "varchar, varchar -> bigint",
            "varchar, varchar, bigint -> bigint",
        ],
        strpos,
    ),
    Function::new(
        "substr",
        &[
            "varchar, bigint -> varchar",
            "varchar, bigint, bigint -> varchar",
        ],
        substr,
    ),
    Function::new(
        "substring",
        &[
            "varchar, bigint -> varchar",
            "varchar, bigint, bigint -> varchar",
        ],
        substr,
    ),
    Function::new(
        "split",
        &[
            "varchar, varchar -> array(varchar)",
            "varchar, varchar, bigint -> array(varchar)",
        ],
        split,
    ),
    Function::new(
        "split_part",
        &["varchar, varchar, bigint -> varchar"],
        split_part,
    ),
    Function::new("lpad", &["varchar, bigint, varchar -> varchar"], |a| {
        pad(a, Side::Left)
    }),
    Function::new("rpad", &["varchar, bigint, varchar -> varchar"], |a| {
        pad(a, Side::Right)
    }),
    Function::new("chr", &["bigint -> varchar"], chr),
    Function::new("codepoint", &["varchar -> integer"], codepoint),
    Function::new(
        "concat",
        &[
            "varchar, varchar, varchar... -> varchar",
            "varchar, varchar -> varchar",
            "T, T, T... -> T",
            "T, T -> T",
        ],
        concat,
    ),
    Function::new(
        "concat_ws",
        &[
            "varchar, array(varchar) -> varchar",
            "varchar, varchar... -> varchar",
        ],
        concat_ws,
    ),
    Function::new("starts_with", &["varchar, varchar -> boolean"], |a| {
        let (text, start) = (a.texts(0), a.texts(1));
        a.give_booleans(|row| {
            Ok(text
                .get(row)
                .zip(start.get(row))
                .map(|(text, start)| text.starts_with(start)))
        })
    }),
    Function::new("ends_with", &["varchar, varchar -> boolean"], |a| {
        let (text, end) = (a.texts(0), a.texts(1));
        a.give_booleans(|row| {
            Ok(text
                .get(row)
                .zip(end.get(row))
                .map(|(text, end)| text.ends_with(end)))
        })
    }),
    Function::new(
        "translate",
        &["varchar, varchar, varchar -> varchar"],
        translate,
    ),
    Function::new(
        "levenshtein_distance",
        &["varchar, varchar -> bigint"],
        levenshtein,
    ),
    Function::new("hamming_distance", &["varchar, varchar -> bigint"], hamming),
    Function::new("to_utf8", &["varchar -> varbinary"], |a| {
        let text = a.texts(0);
        a.give_bytes(|row| Ok(text.get(row).map(str::as_bytes)))
    }),
    Function::new("from_utf8", &["varbinary -> varchar"], |a| {
        let bytes = a.bytes(0);
        a.give_texts(|row| Ok(bytes.get(row).map(String::from_utf8_lossy)))
    }),
    Function::new("to_hex", &["varbinary -> varchar"], |a| {
        let bytes = a.bytes(0);
        a.give_texts(|row| Ok(bytes.get(row).map(hex)))
    }),
    Function::new("from_hex", &["varchar -> varbinary"], from_hex),
    Function::new("to_base64", &["varbinary -> varchar"], |a| {
        let bytes = a.bytes(0);
        a.give_texts(|row| Ok(bytes.get(row).map(|bytes| BASE64.encode(bytes))))
    }),
    Function::new("from_base64", &["varchar -> varbinary"], |a| {
        let text = a.texts(0);
        a.give_bytes(|row| {
            let Some(text) = text.get(row) else {
                return Ok(None);
            };
            match BASE64.decode(text) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => invalid(format!("{error}")),
            }
        })
    }),
    Function::new("sha256", &["varbinary -> varbinary"], |a| {
        let bytes = a.bytes(0);
        a.give_bytes(|row| Ok(bytes.get(row).map(archive::store::digest)))
    }),
    Function::new("crc32", &["varbinary -> bigint"], |a| {
        let bytes = a.bytes(0);
        a.give_numbers(|row| {
            Ok(bytes.get(row).map(|bytes| {
                let mut crc = flate2::Crc::new();
                crc.update(bytes);
                i64::from(crc.sum())
            }))
        })
    }),
    Function::new("xxhash64", &["varbinary -> varbinary"], |a| {
        let bytes = a.bytes(0);
        a.give_bytes(|row| Ok(bytes.get(row).map(|bytes| xxhash64(bytes).to_be_bytes())))
    }),
    Function::new("md5", &["varbinary -> varbinary"], md5),
    Function::new("format", &["varchar, any... -> varchar"], format),
];

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

fn length(a: &Arguments) -> Result<ArrayRef> {
    if *a.kind(0) == DataType::Binary {
        let bytes = a.bytes(0);
        return a.give_numbers(|row| Ok(bytes.get(row).map(|bytes| bytes.len() as i64)));
    }
    let text = a.texts(0);
    a.give_numbers(|row| Ok(text.get(row).map(|text| text.chars().count() as i64)))
}

/// Character by character; one that becomes several stays as it is.
fn by_character<I: Iterator<Item = char>>(a: &Arguments, of: fn(char) -> I) -> Result<ArrayRef> {
    let text = a.texts(0);
    a.give_texts(|row| {
        Ok(text.get(row).map(|text| {
            text.chars()
                .map(|character| {
                    let mut other = of(character);
                    match (other.next(), other.next()) {
                        (Some(one), None) => one,
                        // The only one whose small letter is written as two, and is one in Java's table.
                        (Some('i'), Some(_)) => 'i',
                        _ => character,
                    }
                })
                .collect::<String>()
        }))
    })
}

fn trim(
    a: &Arguments,
    by: for<'t> fn(&'t str, &dyn Fn(char) -> bool) -> &'t str,
) -> Result<ArrayRef> {
    let text = a.texts(0);
    if a.len() == 1 {
        return a.give_texts(|row| Ok(text.get(row).map(|text| by(text, &char::is_whitespace))));
    }
    let characters = a.texts(1);
    a.give_texts(|row| {
        let both = text.get(row).zip(characters.get(row));
        Ok(both.map(|(text, characters)| by(text, &|one| characters.contains(one))))
    })
}

fn replace(a: &Arguments) -> Result<ArrayRef> {
    let (text, search) = (a.texts(0), a.texts(1));
    let with = (a.len() == 3).then(|| a.texts(2));
    a.give_texts(|row| {
        let with = match &with {
            Some(with) => with.get(row),
            None => Some(""),
        };
        let (Some(text), Some(search), Some(with)) = (text.get(row), search.get(row), with) else {
            return Ok(None);
        };
        Ok(Some(text.replace(search, with)))
    })
}

fn reverse(a: &Arguments) -> Result<ArrayRef> {
    if matches!(a.kind(0), DataType::List(_)) {
        return arrays::reverse(a);
    }
    let text = a.texts(0);
    a.give_texts(|row| {
        Ok(text
            .get(row)
            .map(|text| text.chars().rev().collect::<String>()))
    })
}

fn strpos(a: &Arguments) -> Result<ArrayRef> {
    let (text, search) = (a.texts(0), a.texts(1));
    let instance = (a.len() == 3).then(|| a.numbers(2));
    a.give_numbers(|row| {
        let instance = match &instance {
            Some(instance) => instance.get(row),
            None => Some(1),
        };
        let (Some(text), Some(search), Some(instance)) = (text.get(row), search.get(row), instance)
        else {
            return Ok(None);
        };
        if instance == 0 {
            return invalid("'instance' must be a positive or negative number.");
        }
        if search.is_empty() {
            return Ok(Some(1));
        }
        let nth = usize::try_from(instance.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let place = if instance > 0 {
            overlapping(text, search).nth(nth)
        } else {
            let all: Vec<usize> = overlapping(text, search).collect();
            all.into_iter().rev().nth(nth)
        };
        Ok(Some(place.map_or(0, |place| {
            text[..place].chars().count() as i64 + 1
        })))
    })
}

/// Where `search` is in `text`, overlaps too.
fn overlapping<'t>(text: &'t str, search: &'t str) -> impl Iterator<Item = usize> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let place = from + text.get(from..)?.find(search)?;
        from = place + text[place..].chars().next().map_or(1, char::len_utf8);
        Some(place)
    })
}

fn substr(a: &Arguments) -> Result<ArrayRef> {
    let (text, start) = (a.texts(0), a.numbers(1));
    let len = (a.len() == 3).then(|| a.numbers(2));
    a.give_texts(|row| {
        let len = match &len {
            Some(len) => len.get(row),
            None => Some(i64::MAX),
        };
        let (Some(text), Some(start), Some(len)) = (text.get(row), start.get(row), len) else {
            return Ok(None);
        };
        Ok(Some(part(text, start, len)))
    })
}

/// From the `start`-th character, counted from the end where negative, `len` characters.
fn part(text: &str, start: i64, len: i64) -> &str {
    if start == 0 || len <= 0 {
        return "";
    }
    let skipped = if start > 0 {
        start - 1
    } else {
        let skipped = text.chars().count() as i64 + start;
        if skipped < 0 {
            return "";
        }
        skipped
    };
    let at = |characters: i64, from: &str| {
        let characters = usize::try_from(characters).unwrap_or(usize::MAX);
        from.char_indices()
            .nth(characters)
            .map_or(from.len(), |(place, _)| place)
    };
    let rest = &text[at(skipped, text)..];
    &rest[..at(len, rest)]
}

fn split(a: &Arguments) -> Result<ArrayRef> {
    let (text, delimiter) = (a.texts(0), a.texts(1));
    let limit = (a.len() == 3).then(|| a.numbers(2));
    a.give_text_lists(|row| {
        let limit = match &limit {
            Some(limit) => limit.get(row),
            None => Some(i64::MAX),
        };
        let (Some(text), Some(delimiter), Some(limit)) = (text.get(row), delimiter.get(row), limit)
        else {
            return Ok(None);
        };
        if delimiter.is_empty() {
            return invalid("The delimiter may not be the empty string");
        }
        if limit <= 0 {
            return invalid("Limit must be positive");
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Some(
            text.splitn(limit, delimiter)
                .map(|part| Some(part.to_owned()))
                .collect(),
        ))
    })
}

fn split_part(a: &Arguments) -> Result<ArrayRef> {
    let (text, delimiter, index) = (a.texts(0), a.texts(1), a.numbers(2));
    a.give_texts(|row| {
        let (Some(text), Some(delimiter), Some(index)) =
            (text.get(row), delimiter.get(row), index.get(row))
        else {
            return Ok(None);
        };
        if index <= 0 {
            return invalid("Index must be greater than zero");
        }
        let nth = usize::try_from(index - 1).unwrap_or(usize::MAX);
        if delimiter.is_empty() {
            let character = text.char_indices().nth(nth);
            return Ok(character.map(|(place, one)| &text[place..place + one.len_utf8()]));
        }
        Ok(text.split(delimiter).nth(nth))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn pad(a: &Arguments, side: Side) -> Result<ArrayRef> {
    let (text, size, padding) = (a.texts(0), a.numbers(1), a.texts(2));
    a.give_texts(|row| {
        let (Some(text), Some(size), Some(padding)) =
            (text.get(row), size.get(row), padding.get(row))
        else {
            return Ok(None);
        };
        if !(0..=MAX_CHARACTERS).contains(&size) {
            return invalid(format!(
                "Target length must be in the range [0..{MAX_CHARACTERS}]"
            ));
        }
        if padding.is_empty() {
            return invalid("Padding string must not be empty");
        }
        let size = size as usize;
        let len = text.chars().count();
        if len >= size {
            return Ok(Some(text.chars().take(size).collect::<String>()));
        }
        let filling: String = padding.chars().cycle().take(size - len).collect();
        Ok(Some(match side {
            Side::Left => filling + text,
            Side::Right => text.to_owned() + &filling,
        }))
    })
}

fn chr(a: &Arguments) -> Result<ArrayRef> {
    let code = a.numbers(0);
    a.give_texts(|row| {
        let Some(code) = code.get(row) else {
            return Ok(None);
        };
        match u32::try_from(code).ok().and_then(char::from_u32) {
            Some(character) => Ok(Some(character.to_string())),
            None => invalid(format!("Not a valid Unicode code point: {code}")),
        }
    })
}

fn codepoint(a: &Arguments) -> Result<ArrayRef> {
    let text = a.texts(0);
    a.give_integers(|row| {
        let Some(text) = text.get(row) else {
            return Ok(None);
        };
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(one), None) => Ok(Some(u32::from(one) as i32)),
            _ => invalid("Input string must be a single character string"),
        }
    })
}

fn concat(a: &Arguments) -> Result<ArrayRef> {
    if matches!(a.kind(0), DataType::List(_)) {
        return arrays::concat(a);
    }
    let parts: Vec<_> = (0..a.len()).map(|argument| a.texts(argument)).collect();
    a.give_texts(|row| {
        let mut whole = String::new();
        for part in &parts {
            match part.get(row) {
                Some(part) => whole.push_str(part),
                None => return Ok(None),
            }
        }
        Ok(Some(whole))
    })
}

fn concat_ws(a: &Arguments) -> Result<ArrayRef> {
    let separator = a.texts(0);
    if a.len() == 2 && matches!(a.kind(1), DataType::List(_)) {
        let lists = a.lists(1);
        return a.give_texts(|row| {
            let (Some(separator), Some(list)) = (separator.get(row), lists.get(row)) else {
                return Ok(None);
            };
            let parts: Vec<String> = (0..list.len())
                .filter_map(|item| text::value(&list, item))
                .collect();
            Ok(Some(parts.join(separator)))
        });
    }
    let parts: Vec<_> = (1..a.len()).map(|argument| a.texts(argument)).collect();
    a.give_texts(|row| {
        let given: Vec<&str> = parts.iter().filter_map(|part| part.get(row)).collect();
        Ok(separator.get(row).map(|separator| given.join(separator)))
    })
}

fn translate(a: &Arguments) -> Result<ArrayRef> {
    let (text, from, to) = (a.texts(0), a.texts(1), a.texts(2));
    a.give_texts(|row| {
        let (Some(text), Some(from), Some(to)) = (text.get(row), from.get(row), to.get(row)) else {
            return Ok(None);
        };
        let to: Vec<char> = to.chars().collect();
        let translated =
            text.chars()
                .filter_map(|one| match from.chars().position(|other| other == one) {
                    None => Some(one),
                    Some(place) => to.get(place).copied(),
                });
        Ok(Some(translated.collect::<String>()))
    })
}

fn levenshtein(a: &Arguments) -> Result<ArrayRef> {
    let (left, right) = (a.texts(0), a.texts(1));
    a.give_numbers(|row| {
        let (Some(left), Some(right)) = (left.get(row), right.get(row)) else {
            return Ok(None);
        };
        let right: Vec<char> = right.chars().collect();
        if left.chars().count().saturating_mul(right.len()) > 1_000_000 {
            return invalid("The combined inputs for Levenshtein distance are too large");
        }
        let mut above: Vec<usize> = (0..=right.len()).collect();
        for (place, one) in left.chars().enumerate() {
            let mut current = vec![place + 1];
            for (other_place, other) in right.iter().enumerate() {
                let changed = above[other_place] + usize::from(one != *other);
                current.push(
                    changed
                        .min(above[other_place + 1] + 1)
                        .min(current[other_place] + 1),
                );
            }
            above = current;
        }
        Ok(above.last().map(|distance| *distance as i64))
    })
}

fn hamming(a: &Arguments) -> Result<ArrayRef> {
    let (left, right) = (a.texts(0), a.texts(1));
    a.give_numbers(|row| {
        let (Some(left), Some(right)) = (left.get(row), right.get(row)) else {
            return Ok(None);
        };
        if left.chars().count() != right.chars().count() {
            return invalid(
                "The input strings to hamming_distance function must have the same length",
            );
        }
        Ok(Some(
            left.chars()
                .zip(right.chars())
                .filter(|(a, b)| a != b)
                .count() as i64,
        ))
    })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

fn from_hex(a: &Arguments) -> Result<ArrayRef> {
    let text = a.texts(0);
    a.give_bytes(|row| {
        let Some(text) = text.get(row) else {
            return Ok(None);
        };
        match unhex(text) {
            Some(bytes) => Ok(Some(bytes)),
            None => invalid(format!("Invalid hex string: {text}")),
        }
    })
}

/// The bytes that pairs of hexadecimal digits write.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn md5(a: &Arguments) -> Result<ArrayRef> {
    use datafusion::arrow::array::AsArray as _;
    let array = a.array(0)?;
    let rows = array.len();
    let hexadecimal = datafusion::functions::crypto::md5().invoke_with_args(
        datafusion::logical_expr::ScalarFunctionArgs {
            args: vec![datafusion::logical_expr::ColumnarValue::Array(array)],
            arg_fields: vec![field(DataType::Binary)],
            number_rows: rows,
            return_field: field(DataType::Utf8View),
            config_options: std::sync::Arc::default(),
        },
    )?;
    let hexadecimal = hexadecimal.into_array(rows)?;
    let hexadecimal = datafusion::arrow::compute::cast(&hexadecimal, &DataType::Utf8View)?;
    let texts = hexadecimal.as_string_view();
    a.give_bytes(|row| {
        Ok(texts
            .is_valid(row)
            .then(|| unhex(texts.value(row)))
            .flatten())
    })
}

fn field(of: DataType) -> datafusion::arrow::datatypes::FieldRef {
    std::sync::Arc::new(datafusion::arrow::datatypes::Field::new("", of, true))
}

/// XXH64 with seed 0.
fn xxhash64(bytes: &[u8]) -> u64 {
    const P1: u64 = 0x9E37_79B1_85EB_CA87;
    const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
    const P3: u64 = 0x1656_67B1_9E37_79F9;
    const P4: u64 = 0x85EB_CA77_C2B2_AE63;
    const P5: u64 = 0x27D4_EB2F_1656_67C5;
    let eight = |at: &[u8]| {
        at.iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let round = |lane: u64, word: u64| {
        lane.wrapping_add(word.wrapping_mul(P2))
            .rotate_left(31)
            .wrapping_mul(P1)
    };
    let stripes = bytes.chunks_exact(32);
    let rest = stripes.remainder();
    let mut hash = if bytes.len() >= 32 {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, 0_u64.wrapping_sub(P1)];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, eight(word));
            }
        }
        let [a, b, c, d] = lanes;
        let mut hash = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        for lane in lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        }
        hash
    } else {
        P5
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let words = rest.chunks_exact(8);
    let mut rest = words.remainder();
    for word in words {
        hash = (hash ^ round(0, eight(word)))
            .rotate_left(27)
            .wrapping_mul(P1)
            .wrapping_add(P4);
    }
    if rest.len() >= 4 {
        let (four, after) = rest.split_at(4);
        hash = (hash ^ eight(four).wrapping_mul(P1))
            .rotate_left(23)
            .wrapping_mul(P2)
            .wrapping_add(P3);
        rest = after;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(P5))
            .rotate_left(11)
            .wrapping_mul(P1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(P2);
    hash = (hash ^ hash >> 29).wrapping_mul(P3);
    hash ^ hash >> 32
}

/// Java's `String.format`, as far as logs need it: `%s %d %x %X %f %.nf %b %c %n %%` with width, `-`, `0`, `+` and `,`.
fn format(a: &Arguments) -> Result<ArrayRef> {
    let pattern = a.texts(0);
    a.give_texts(|row| {
        let Some(pattern) = pattern.get(row) else {
            return Ok(None);
        };
        let mut out = String::new();
        let mut argument = 1;
        let mut rest = pattern;
        while let Some(place) = rest.find('%') {
            out.push_str(&rest[..place]);
            let after = &rest[place + 1..];
            let flags_len = after
                .find(|one: char| !"-0+,".contains(one))
                .unwrap_or(after.len());
            let (flags, after) = after.split_at(flags_len);
            let width_len = after
                .find(|one: char| !one.is_ascii_digit())
                .unwrap_or(after.len());
            let (width, mut after) = after.split_at(width_len);
            let mut precision = None;
            if let Some(digits) = after.strip_prefix('.') {
                let len = digits
                    .find(|one: char| !one.is_ascii_digit())
                    .unwrap_or(digits.len());
                precision = digits[..len].parse::<usize>().ok();
                after = &digits[len..];
            }
            let Some(conversion) = after.chars().next() else {
                return invalid(format!("Invalid format string: {pattern}"));
            };
            rest = &after[conversion.len_utf8()..];
            let plain = match conversion {
                '%' => "%".to_owned(),
                'n' => "\n".to_owned(),
                _ => {
                    if argument >= a.len() {
                        return invalid(format!(
                            "Invalid format string: {pattern} (Format specifier '%{conversion}')"
                        ));
                    }
                    let (array, place) = a.raw(argument, row);
                    argument += 1;
                    match (text::value(array, place), conversion) {
                        (None, _) => "null".to_owned(),
                        (Some(value), 's') => match precision {
                            Some(len) => value.chars().take(len).collect(),
                            None => value,
                        },
                        (Some(value), 'b' | 'c') => value,
                        (Some(value), 'd') if array.data_type().is_integer() => value,
                        (Some(value), 'x' | 'X') if array.data_type().is_integer() => {
                            let number: i64 = value.parse().unwrap_or(0);
                            if conversion == 'x' {
                                format!("{number:x}")
                            } else {
                                format!("{number:X}")
                            }
                        }
                        (
                            Some(_),
                            'e' | 'E' | 'g' | 'G' | 'a' | 'A' | 'o' | 'h' | 'H' | 't' | 'T',
                        ) => {
                            return Trouble::new(
                                Code::NotSupported,
                                format!("the embedded engine's format() has no %{conversion}"),
                            )
                            .raise();
                        }
                        (Some(value), 'f') if array.data_type().is_floating() => {
                            let number: f64 = value.parse().unwrap_or(f64::NAN);
                            half_up(number, precision.unwrap_or(6))
                        }
                        _ => {
                            return invalid(format!(
                                "Invalid format string: {pattern} (%{conversion} with {})",
                                text::name(array.data_type())
                            ));
                        }
                    }
                }
            };
            let plain = if flags.contains(',') {
                grouped(&plain)
            } else {
                plain
            };
            let plain = if flags.contains('+') && !plain.starts_with('-') {
                format!("+{plain}")
            } else {
                plain
            };
            let width: usize = width.parse().unwrap_or(0);
            if width as i64 > MAX_CHARACTERS {
                return invalid(format!("Invalid format string: {pattern}"));
            }
            let missing = width.saturating_sub(plain.chars().count());
            if flags.contains('-') {
                out.push_str(&plain);
                out.extend(std::iter::repeat_n(' ', missing));
            } else if flags.contains('0') {
                let (sign, digits) = plain.split_at(usize::from(plain.starts_with(['-', '+'])));
                out.push_str(sign);
                out.extend(std::iter::repeat_n('0', missing));
                out.push_str(digits);
            } else {
                out.extend(std::iter::repeat_n(' ', missing));
                out.push_str(&plain);
            }
        }
        out.push_str(rest);
        Ok(Some(out))
    })
}

/// With so many digits behind the point, the last one rounded half up on the shortest decimal form, as Java does.
fn half_up(number: f64, digits: usize) -> String {
    if !number.is_finite() {
        return rows::double(number);
    }
    let shortest = format!("{}", number.abs());
    let (whole, fraction) = shortest.split_once('.').unwrap_or((&shortest, ""));
    let sign = if number < 0.0 { "-" } else { "" };
    if fraction.len() <= digits {
        let zeros = "0".repeat(digits - fraction.len());
        let point = if digits == 0 { "" } else { "." };
        return format!("{sign}{whole}{point}{fraction}{zeros}");
    }
    let mut all: Vec<u8> = whole.bytes().chain(fraction.bytes().take(digits)).collect();
    if fraction.as_bytes()[digits] >= b'5' {
        let mut place = all.len();
        loop {
            if place == 0 {
                all.insert(0, b'1');
                break;
            }
            place -= 1;
            if all[place] == b'9' {
                all[place] = b'0';
            } else {
                all[place] += 1;
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (whole, fraction) = text.split_at(text.len() - digits);
    let point = if digits == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// With a comma between groups of three digits.
fn grouped(number: &str) -> String {
    let end = number.find('.').unwrap_or(number.len());
    let start = usize::from(number.starts_with('-'));
    let mut out = number[..start].to_owned();
    for (place, digit) in number[start..end].chars().enumerate() {
        if place > 0 && (end - start - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + &number[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes() {
        assert_eq!(xxhash64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxhash64(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(xxhash64(b"abc"), 0x44bc_2cf5_ad77_0999);
        assert_eq!(
            xxhash64(b"Nobody inspects the spammish repetition"),
            0xfbce_a83c_8a37_8bf1
        );
    }

    #[test]
    fn rounding_half_up() {
        assert_eq!(half_up(0.125, 2), "0.13");
        assert_eq!(half_up(9.995, 2), "10.00");
        assert_eq!(half_up(-2.5, 0), "-3");
        assert_eq!(half_up(1.0, 3), "1.000");
    }
}
