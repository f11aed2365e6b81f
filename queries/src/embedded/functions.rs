//! The function pack: what answers as Trino does.
//!
//! A function is a row of a table: its name, the types that it takes, and what it does with them. Types are written as in Trino's
//! documentation (`"varchar, bigint -> varchar"`), with these marks: `any` is any type, `T` any type but the same wherever it stands,
//! `...` after the last one any number of it, `timestamp` and `time` a time without and with a zone in any precision, `array`, `map`
//! anything of the kind, `=N` the type of the N-th argument, `$element` and the like a part of the first one. NULL in, NULL out, unless the function says otherwise.
//!
//! Each function stands twice in the engine: under its name, and behind [`TRY`], where a value that it fails on is NULL.

mod arguments;
mod arrays;
pub(super) mod casts;
mod json;
mod json_path;
mod maps;
mod numbers;
mod percentile;
mod ranked;
mod regexps;
mod strings;
mod sum;
mod time_formats;
pub(super) mod times;
mod urls;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::error::{Code, Trouble};
use super::text;
use arguments::Arguments;

/// What stands before the name of a function whose failures are NULL.
pub(super) const TRY: &str = "$try$";

/// Functions that give a decimal for a decimal in Trino.
const ROUNDS: &[&str] = &[
    "abs", "sign", "ceil", "ceiling", "floor", "round", "truncate", "mod",
];

/// Why there is no answer where decimals are calculated with.
pub(super) const NO_DECIMALS: &str =
    "the embedded engine does not calculate with decimals: write 1.5E0 for 1.5, or cast to double";

/// A function of a row's values.
pub(super) struct Function {
    /// Its name.
    name: &'static str,
    /// What it takes and gives, one form after the other.
    forms: &'static [&'static str],
    /// What it does.
    run: fn(&Arguments) -> Result<ArrayRef>,
}

impl Function {
    const fn new(
        name: &'static str,
        forms: &'static [&'static str],
        run: fn(&Arguments) -> Result<ArrayRef>,
    ) -> Self {
        Self { name, forms, run }
    }
}

/// All functions of a row's values, each under both of its names.
pub(super) fn scalars() -> Vec<Arc<ScalarUDF>> {
    all()
        .flat_map(|function| {
            [Failing::Fails, Failing::Null].map(|failing| {
                let name = match failing {
                    Failing::Fails => function.name.to_owned(),
                    Failing::Null => format!("{TRY}{}", function.name),
                };
                Arc::new(ScalarUDF::new_from_impl(Scalar {
                    function,
                    name,
                    failing,
                    signature: Signature::user_defined(Volatility::Immutable),
                }))
            })
        })
        .collect()
}

/// Aggregates of ours.
pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let mut all = vec![Arc::new(AggregateUDF::new_from_impl(sum::Sum::new()))];
    all.push(percentile::aggregate());
    all.extend(ranked::aggregates());
    all.extend(maps::aggregates());
    all
}

fn all() -> impl Iterator<Item = &'static Function> {
    [
        strings::FUNCTIONS,
        regexps::FUNCTIONS,
        numbers::FUNCTIONS,
        times::FUNCTIONS,
        json::FUNCTIONS,
        arrays::FUNCTIONS,
        casts::FUNCTIONS,
        urls::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}

/// Whether there is a function of ours by that name.
pub(super) fn is_scalar(name: &str) -> bool {
    !name.starts_with('$') && all().any(|function| function.name == name)
}

/// What happens where a function fails on a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Failing {
    /// The statement fails.
    Fails,
    /// It is NULL.
    Null,
}

/// A function in the engine.
struct Scalar {
    function: &'static Function,
    name: String,
    failing: Failing,
    signature: Signature,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Scalar {
    /// The form that the arguments fit.
    fn form(&self, types: &[DataType]) -> Result<(Vec<DataType>, DataType)> {
        let fits = self.function.forms.iter().find_map(|form| fit(form, types));
        if let Some(form) = fits {
            if ROUNDS.contains(&self.function.name)
                && types.iter().any(DataType::is_decimal)
                && !types.iter().any(DataType::is_floating)
            {
                return Trouble::new(Code::NotSupported, NO_DECIMALS).raise();
            }
            return Ok(form);
        }
        if let ("$subscript", [whole, index]) = (self.function.name, types) {
            return Trouble::new(
                Code::TypeMismatch,
                format!(
                    "Cannot apply operator: {}[{}]",
                    text::name(whole),
                    text::name(index)
                ),
            )
            .raise();
        }
        if let Some(refusal) = casts::refusal(self.function.name, types) {
            return refusal.raise();
        }
        let name = self.function.name;
        let given: Vec<String> = types.iter().map(text::name).collect();
        let expected: Vec<String> = self
            .function
            .forms
            .iter()
            .map(|form| format!("{name}({})", form.split(" -> ").next().unwrap_or_default()))
            .collect();
        Trouble::new(
            Code::FunctionNotFound,
            format!(
                "Unexpected parameters ({}) for function {name}. Expected: {}",
                given.join(", "),
                expected.join(", ")
            ),
        )
        .raise()
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.form(types)?.0)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.form(types)?.1)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result = args.return_field.data_type().clone();
        let arguments = Arguments::new(args.args, args.number_rows, result, self.failing)?;
        let is_constant = arguments.is_constant();
        let array = (self.function.run)(&arguments)?;
        if is_constant {
            let value = datafusion::common::ScalarValue::try_from_array(&array, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// The types that arguments of `types` are taken as in a form, and what the form gives.
fn fit(form: &str, types: &[DataType]) -> Option<(Vec<DataType>, DataType)> {
    let (taken, given) = form.split_once("->")?;
    let mut wanted: Vec<&str> = taken
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .collect();
    if let Some(last) = wanted.last().and_then(|last| last.strip_suffix("...")) {
        wanted.pop();
        while wanted.len() < types.len() {
            wanted.push(last);
        }
    }
    if wanted.len() != types.len() {
        return None;
    }
    let mut same: Option<DataType> = None;
    if wanted.contains(&"T") {
        for (wanted, of) in wanted.iter().zip(types) {
            if *wanted == "T" {
                same = Some(match same {
                    None => of.clone(),
                    Some(so_far) => common(&so_far, of)?,
                });
            }
        }
    }
    let mut coerced = Vec::with_capacity(types.len());
    for (wanted, of) in wanted.iter().zip(types) {
        coerced.push(match *wanted {
            "T" => same.clone()?,
            wanted => take(wanted, of)?,
        });
    }
    let given = given.trim();
    let result = match given.strip_prefix('=') {
        Some(place) => coerced.get(place.parse::<usize>().ok()?)?.clone(),
        None if given == "T" => same?,
        None if given == casts::CAST => casts::result(coerced.first()?, coerced.get(1)?)?,
        None if given == "$zoned" => match (coerced.first()?, coerced.get(1)?) {
            (DataType::Timestamp(unit, _), DataType::Timestamp(_, zone)) => {
                DataType::Timestamp(*unit, zone.clone())
            }
            _ => return None,
        },
        None if given.starts_with('$') => part_of(given, coerced.first()?)?,
        None => by_name(given)?,
    };
    Some((coerced, result))
}

/// The type of a part of an array or a map: `$element`, `$value`, and the arrays `$keys` and `$values`.
fn part_of(part: &str, whole: &DataType) -> Option<DataType> {
    let entry = |place: usize| match whole {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields.get(place).map(|field| field.data_type().clone()),
            _ => None,
        },
        _ => None,
    };
    match (part, whole) {
        ("$element", DataType::List(item)) => Some(item.data_type().clone()),
        ("$value", _) => entry(1),
        ("$keys", _) => entry(0).map(list),
        ("$values", _) => entry(1).map(list),
        _ => None,
    }
}

/// The type that a value of type `of` is taken as where `wanted` is.
fn take(wanted: &str, of: &DataType) -> Option<DataType> {
    let unknown = *of == DataType::Null;
    let ms = || DataType::Timestamp(TimeUnit::Millisecond, None);
    Some(match wanted {
        "any" => of.clone(),
        "varchar" if unknown || matches!(of, DataType::Utf8 | DataType::Utf8View) => {
            DataType::Utf8View
        }
        "json" if unknown || *of == DataType::LargeUtf8 => DataType::LargeUtf8,
        "bigint" if unknown || of.is_integer() => DataType::Int64,
        "tinyint" if *of == DataType::Int8 => DataType::Int8,
        "smallint" if matches!(of, DataType::Int8 | DataType::Int16) => DataType::Int16,
        "integer"
            if unknown || matches!(of, DataType::Int8 | DataType::Int16 | DataType::Int32) =>
        {
            DataType::Int32
        }
        "double" if unknown || of.is_numeric() => DataType::Float64,
        "floating" if of.is_floating() => DataType::Float64,
        "decimal" if matches!(of, DataType::Decimal128(..)) => of.clone(),
        "boolean" if unknown || *of == DataType::Boolean => DataType::Boolean,
        "date" if unknown || *of == DataType::Date32 => DataType::Date32,
        "timestamp" if unknown || *of == DataType::Date32 => ms(),
        "timestamp" if matches!(of, DataType::Timestamp(_, None)) => of.clone(),
        "time" if matches!(of, DataType::Timestamp(_, Some(_))) => of.clone(),
        // A time without a zone is taken in UTC, the session's.
        "time" => match of {
            DataType::Timestamp(unit, None) => DataType::Timestamp(*unit, Some("UTC".into())),
            DataType::Date32 => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            _ => return None,
        },
        "varbinary" if unknown || of.is_binary() => DataType::Binary,
        "interval" if matches!(of, DataType::Interval(_) | DataType::Duration(_)) => of.clone(),
        "array" if matches!(of, DataType::List(_)) => of.clone(),
        "array(varchar)" => match of {
            DataType::List(item) if item.data_type().is_string() || item.data_type().is_null() => {
                list(DataType::Utf8View)
            }
            _ => return None,
        },
        "map" if matches!(of, DataType::Map(..)) => of.clone(),
        "unknown" if unknown => DataType::Null,
        _ => return None,
    })
}

/// A type by its name in a form.
fn by_name(name: &str) -> Option<DataType> {
    let utc = || Some("UTC".into());
    Some(match name {
        "varchar" => DataType::Utf8View,
        "json" => DataType::LargeUtf8,
        "bigint" => DataType::Int64,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "integer" => DataType::Int32,
        "double" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "date" => DataType::Date32,
        "varbinary" => DataType::Binary,
        "timestamp(3)" => DataType::Timestamp(TimeUnit::Millisecond, None),
        "timestamp(3) with time zone" => DataType::Timestamp(TimeUnit::Millisecond, utc()),
        "timestamp(9) with time zone" => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        "array(varchar)" => list(DataType::Utf8View),
        "array(bigint)" => list(DataType::Int64),
        "interval" => DataType::Duration(TimeUnit::Millisecond),
        _ => return None,
    })
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(of, true)))
}

/// The type that values of both types are taken as, by Trino's rules: numbers go to wider numbers, a date to a time, and an unknown
/// NULL to anything. Texts never go to numbers or times, nor the other way round.
pub(super) fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType as D;
    if left == right {
        return Some(left.clone());
    }
    if *left == D::Null {
        return Some(right.clone());
    }
    if *right == D::Null {
        return Some(left.clone());
    }
    let is_text = |of: &D| matches!(of, D::Utf8 | D::Utf8View);
    if is_text(left) && is_text(right) {
        return Some(D::Utf8View);
    }
    if left.is_numeric() && right.is_numeric() {
        if left.is_integer() && right.is_integer() {
            let bits = |of: &D| {
                if of.is_unsigned_integer() {
                    64
                } else {
                    of.primitive_width().unwrap_or(8) * 8
                }
            };
            return Some(match bits(left).max(bits(right)) {
                8 => D::Int8,
                16 => D::Int16,
                32 => D::Int32,
                _ => D::Int64,
            });
        }
        if let (Some((left, left_scale)), Some((right, right_scale))) =
            (digits(left), digits(right))
        {
            let scale = left_scale.max(right_scale);
            let whole = (left - left_scale).max(right - right_scale);
            return Some(D::Decimal128((whole + scale).min(38) as u8, scale as i8));
        }
        return Some(D::Float64);
    }
    match (left, right) {
        (D::Date32, D::Timestamp(..)) => Some(right.clone()),
        (D::Timestamp(..), D::Date32)
        | (D::Interval(_) | D::Duration(_), D::Interval(_) | D::Duration(_))
        | (D::Map(..), D::Map(..))
        | (D::Struct(_), D::Struct(_)) => Some(left.clone()),
        (D::Timestamp(a, zone_a), D::Timestamp(b, zone_b)) => {
            let finer = if text::precision(*a) > text::precision(*b) {
                a
            } else {
                b
            };
            let zone = zone_a.clone().or_else(|| zone_b.clone());
            Some(D::Timestamp(*finer, zone))
        }
        (D::List(a), D::List(b)) => {
            let item = common(a.data_type(), b.data_type())?;
            Some(list(item))
        }
        _ if left.is_binary() && right.is_binary() => Some(left.clone()),
        _ => None,
    }
}

/// The digits of a number that is exact, and how many of them stand behind the point; none for one that is not.
fn digits(of: &DataType) -> Option<(i16, i16)> {
    Some(match of {
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Decimal128(precision, scale) => (i16::from(*precision), i16::from(*scale)),
        of if of.is_integer() => (19, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_can_be_read() {
        for function in all() {
            for form in function.forms {
                let (taken, given) = form.split_once(" -> ").unwrap_or_else(|| panic!("{form}"));
                let known =
                    given.starts_with(['=', '$']) || given == "T" || by_name(given).is_some();
                assert!(known, "{}: {form}", function.name);
                for wanted in taken.split(", ").filter(|wanted| !wanted.is_empty()) {
                    let wanted = wanted.trim_end_matches("...");
                    let some = [
                        DataType::Null,
                        DataType::Int8,
                        DataType::Float64,
                        DataType::Decimal128(3, 1),
                        list(DataType::Int64),
                        list(DataType::Utf8),
                        DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
                        DataType::Duration(TimeUnit::Millisecond),
                        datafusion::arrow::datatypes::DataType::Map(
                            Arc::new(Field::new("entries", DataType::Null, false)),
                            false,
                        ),
                    ];
                    let known = wanted == "T" || some.iter().any(|of| take(wanted, of).is_some());
                    assert!(known, "{}: {wanted}", function.name);
                }
            }
        }
    }

    #[test]
    fn texts_are_no_numbers() {
        assert_eq!(common(&DataType::Utf8, &DataType::Int64), None);
        assert_eq!(common(&DataType::Utf8View, &DataType::Date32), None);
        assert_eq!(
            common(&DataType::Int32, &DataType::Int64),
            Some(DataType::Int64)
        );
        assert_eq!(
            common(&DataType::Null, &DataType::Int64),
            Some(DataType::Int64)
        );
    }
}
