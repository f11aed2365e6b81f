//! JSON texts, and values of the type JSON, which are texts in one form.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use super::Function;
use super::arguments::Arguments;
use super::json_path::{Path, compact, elements, scalar};
use crate::embedded::error::{Code, Trouble, invalid};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "json_extract",
        &["varchar, varchar -> json", "json, varchar -> json"],
        |a| {
            let mut found = Found::new(a);
            a.give_texts(|row| Ok(found.get(row)?.map(compact)))
        },
    ),
    Function::new(
        "json_extract_scalar",
        &["varchar, varchar -> varchar", "json, varchar -> varchar"],
        |a| {
            let mut found = Found::new(a);
            a.give_texts(|row| Ok(found.get(row)?.and_then(scalar)))
        },
    ),
    Function::new(
        "json_size",
        &["varchar, varchar -> bigint", "json, varchar -> bigint"],
        |a| {
            let mut found = Found::new(a);
            a.give_numbers(|row| {
                let Some(json) = found.get(row)? else {
                    return Ok(None);
                };
                Ok(match serde_json::from_str(json) {
                    Ok(serde_json::Value::Object(members)) => Some(members.len() as i64),
                    Ok(serde_json::Value::Array(items)) => Some(items.len() as i64),
                    Ok(_) => Some(0),
                    Err(_) => None,
                })
            })
        },
    ),
    Function::new("json_parse", &["varchar -> json"], |a| {
        let text = a.texts(0);
        a.give_texts(|row| text.get(row).map(parse).transpose())
    }),
    Function::new("json_format", &["json -> varchar"], |a| {
        let json = a.json(0);
        a.give_texts(|row| Ok(json.get(row)))
    }),
    Function::new(
        "is_json_scalar",
        &["varchar -> boolean", "json -> boolean"],
        |a| {
            a.give_booleans(|row| {
                let Some(text) = text_of(a, row) else {
                    return Ok(None);
                };
                match serde_json::from_str::<serde_json::Value>(text) {
                    Ok(value) => Ok(Some(!value.is_object() && !value.is_array())),
                    Err(_) => invalid(format!("Invalid JSON value: {text}")),
                }
            })
        },
    ),
    Function::new(
        "json_array_length",
        &["varchar -> bigint", "json -> bigint"],
        |a| {
            a.give_numbers(|row| {
                Ok(text_of(a, row)
                    .and_then(elements)
                    .map(|all| all.len() as i64))
            })
        },
    ),
    Function::new(
        "json_array_get",
        &["varchar, bigint -> json", "json, bigint -> json"],
        |a| {
            let index = a.numbers(1);
            a.give_texts(|row| {
                let (Some(text), Some(index)) = (text_of(a, row), index.get(row)) else {
                    return Ok(None);
                };
                let Some(all) = elements(text) else {
                    return Ok(None);
                };
                let place = if index < 0 {
                    index + all.len() as i64
                } else {
                    index
                };
                let found = usize::try_from(place)
                    .ok()
                    .and_then(|place| all.get(place).copied());
                // A text comes without its quotes, which makes no JSON; Trino's documentation calls the function broken.
                Ok(found
                    .filter(|json| *json != "null")
                    .map(|json| match scalar(json) {
                        Some(scalar) => scalar.into_owned(),
                        None => compact(json),
                    }))
            })
        },
    ),
    Function::new(
        "json_array_contains",
        &[
            "varchar, varchar -> boolean",
            "varchar, bigint -> boolean",
            "varchar, boolean -> boolean",
            "varchar, double -> boolean",
            "json, varchar -> boolean",
            "json, bigint -> boolean",
            "json, boolean -> boolean",
            "json, double -> boolean",
        ],
        contains,
    ),
];

/// A JSON text in the one form: no blanks, and keys in order.
pub(super) fn parse(text: &str) -> Result<String> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(mut value) => {
            value.sort_all_objects();
            Ok(compact(&value.to_string()))
        }
        Err(_) => Trouble::new(
            Code::InvalidFunctionArgument,
            format!("Cannot convert value to JSON: '{text}'"),
        )
        .raise(),
    }
}

fn text_of(a: &Arguments, row: usize) -> Option<&str> {
    match a.kind(0) {
        DataType::LargeUtf8 => a.json(0).get(row),
        _ => a.texts(0).get(row),
    }
}

/// What paths lead to, by row. The path is mostly the same for all.
struct Found<'a> {
    arguments: &'a Arguments,
    last: Option<(String, Path)>,
}

impl<'a> Found<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            last: None,
        }
    }

    fn get(&mut self, row: usize) -> Result<Option<&'a str>> {
        let path = self.arguments.texts(1).get(row);
        let (Some(text), Some(path)) = (text_of(self.arguments, row), path) else {
            return Ok(None);
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            self.last = Some((path.to_owned(), Path::parse(path)?));
        }
        Ok(self.last.as_ref().and_then(|(_, path)| path.find(text)))
    }
}

fn contains(a: &Arguments) -> Result<ArrayRef> {
    a.give_booleans(|row| {
        let Some(text) = text_of(a, row).filter(|_| !a.is_null(1, row)) else {
            return Ok(None);
        };
        let Some(all) = elements(text) else {
            return Ok(None);
        };
        let is_it = |json: &&str| match a.kind(1) {
            DataType::Int64 => a
                .numbers(1)
                .get(row)
                .is_some_and(|wanted| json.parse() == Ok(wanted)),
            DataType::Float64 => a
                .doubles(1)
                .get(row)
                .is_some_and(|wanted| json.parse() == Ok(wanted)),
            DataType::Boolean => a
                .booleans(1)
                .get(row)
                .is_some_and(|wanted| json.parse() == Ok(wanted)),
            _ => json.starts_with('"') && scalar(json).as_deref() == a.texts(1).get(row),
        };
        Ok(Some(all.iter().any(is_it)))
    })
}
