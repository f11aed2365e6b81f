//! Arrays and maps. Places count from 1; a place that is not there is an error with `[]`, and NULL with `element_at`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, ListArray, UInt32Array, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{SortOptions, sort_to_indices, take};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};

use super::Function;
use super::arguments::Arguments;
use crate::embedded::error::{Code, Trouble, invalid};
use crate::embedded::text;

/// The longest array that is made of nothing, in elements: Athena's limit for `sequence`.
const MAX_MADE: i64 = 10_000;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("cardinality", &["array -> bigint", "map -> bigint"], |a| {
        a.give_numbers(|row| Ok(elements(a, 0, row).map(|list| list.len() as i64)))
    }),
    Function::new("contains", &["array, any -> boolean"], contains),
    Function::new("array_position", &["array, any -> bigint"], position),
    Function::new(
        "array_join",
        &[
            "array, varchar -> varchar",
            "array, varchar, varchar -> varchar",
        ],
        join,
    ),
    Function::new("array_distinct", &["array -> =0"], |a| {
        rebuilt(a, |list| {
            let mut seen = std::collections::HashSet::new();
            places(list, |place| {
                Ok(seen.insert(ScalarValue::try_from_array(list, place)?))
            })
        })
    }),
    Function::new("array_sort", &["array -> =0"], |a| {
        rebuilt(a, |list| {
            let options = SortOptions {
                descending: false,
                nulls_first: false,
            };
            Ok(sort_to_indices(list, Some(options), None)?)
        })
    }),
    Function::new("array_remove", &["array, any -> =0"], remove),
    Function::new("slice", &["array, bigint, bigint -> =0"], slice),
    Function::new(
        "sequence",
        &[
            "bigint, bigint -> array(bigint)",
            "bigint, bigint, bigint -> array(bigint)",
        ],
        sequence,
    ),
    Function::new("map_keys", &["map -> $keys"], |a| of_map(a, 0)),
    Function::new("map_values", &["map -> $values"], |a| of_map(a, 1)),
    Function::new("array_max", &["array -> $element"], |a| extreme(a, true)),
    Function::new("array_min", &["array -> $element"], |a| extreme(a, false)),
    Function::new(
        "element_at",
        &["array, bigint -> $element", "map, any -> $value"],
        |a| at(a, Missing::Null),
    ),
    Function::new(
        "$subscript",
        &["array, bigint -> $element", "map, any -> $value"],
        |a| at(a, Missing::Fails),
    ),
];

/// The elements of an array, or the entries of a map, in a row.
fn elements(a: &Arguments, argument: usize, row: usize) -> Option<ArrayRef> {
    let (array, place) = a.raw(argument, row);
    if array.is_null(place) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Map(..) => Arc::new(array.as_map().value(place)) as ArrayRef,
        _ => array.as_list::<i32>().value(place),
    })
}

/// The places whose elements are kept.
fn places(list: &ArrayRef, mut keeps: impl FnMut(usize) -> Result<bool>) -> Result<UInt32Array> {
    let mut kept = Vec::new();
    for place in 0..list.len() {
        if keeps(place)? {
            kept.push(place as u32);
        }
    }
    Ok(kept.into())
}

/// Arrays made of some of their elements, by place.
fn rebuilt(a: &Arguments, of: impl Fn(&ArrayRef) -> Result<UInt32Array>) -> Result<ArrayRef> {
    build(a, |row| {
        let Some(list) = elements(a, 0, row) else {
            return Ok(None);
        };
        Ok(Some(take(&list, &of(&list)?, None)?))
    })
}

/// Arrays of the answer's type, by row.
fn build(a: &Arguments, mut of: impl FnMut(usize) -> Result<Option<ArrayRef>>) -> Result<ArrayRef> {
    let DataType::List(field) = a.result() else {
        return invalid("the answer is no array");
    };
    let mut parts = Vec::with_capacity(a.rows());
    let mut valid = Vec::with_capacity(a.rows());
    for row in 0..a.rows() {
        let part = of(row)?;
        valid.push(part.is_some());
        parts.push(match part {
            Some(part) => datafusion::arrow::compute::cast(&part, field.data_type())?,
            None => new_null_array(field.data_type(), 0),
        });
    }
    let lengths: Vec<usize> = parts.iter().map(Array::len).collect();
    let refs: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = if refs.is_empty() {
        new_null_array(field.data_type(), 0)
    } else {
        datafusion::arrow::compute::concat(&refs)?
    };
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(NullBuffer::from(valid)),
    )?))
}

/// A value of an argument as one of the elements' type, if it can be one.
fn wanted(a: &Arguments, argument: usize, row: usize, of: &DataType) -> Result<ScalarValue> {
    let (array, place) = a.raw(argument, row);
    let value = ScalarValue::try_from_array(array, place)?;
    match super::common(of, array.data_type()) {
        Some(_) => value.cast_to(of),
        None => Trouble::new(
            Code::TypeMismatch,
            format!(
                "{} is compared with {}",
                text::name(of),
                text::name(array.data_type())
            ),
        )
        .raise(),
    }
}

fn contains(a: &Arguments) -> Result<ArrayRef> {
    a.give_booleans(|row| {
        let Some(list) = elements(a, 0, row).filter(|_| !a.is_null(1, row)) else {
            return Ok(None);
        };
        let wanted = wanted(a, 1, row, list.data_type())?;
        for place in 0..list.len() {
            if ScalarValue::try_from_array(&list, place)? == wanted {
                return Ok(Some(true));
            }
        }
        // Who knows what a NULL among them is.
        Ok((list.null_count() == 0).then_some(false))
    })
}

fn position(a: &Arguments) -> Result<ArrayRef> {
    a.give_numbers(|row| {
        let Some(list) = elements(a, 0, row).filter(|_| !a.is_null(1, row)) else {
            return Ok(None);
        };
        let wanted = wanted(a, 1, row, list.data_type())?;
        for place in 0..list.len() {
            if ScalarValue::try_from_array(&list, place)? == wanted {
                return Ok(Some(place as i64 + 1));
            }
        }
        Ok(Some(0))
    })
}

fn remove(a: &Arguments) -> Result<ArrayRef> {
    build(a, |row| {
        let Some(list) = elements(a, 0, row).filter(|_| !a.is_null(1, row)) else {
            return Ok(None);
        };
        let wanted = wanted(a, 1, row, list.data_type())?;
        let kept = places(&list, |place| {
            Ok(ScalarValue::try_from_array(&list, place)? != wanted)
        })?;
        Ok(Some(take(&list, &kept, None)?))
    })
}

fn join(a: &Arguments) -> Result<ArrayRef> {
    let separator = a.texts(1);
    let for_null = (a.len() == 3).then(|| a.texts(2));
    a.give_texts(|row| {
        let (Some(list), Some(separator)) = (elements(a, 0, row), separator.get(row)) else {
            return Ok(None);
        };
        let for_null = for_null.as_ref().and_then(|for_null| for_null.get(row));
        let parts: Vec<String> = (0..list.len())
            .filter_map(|place| {
                super::casts::to_text(list.as_ref(), place).or_else(|| for_null.map(str::to_owned))
            })
            .collect();
        Ok(Some(parts.join(separator)))
    })
}

fn slice(a: &Arguments) -> Result<ArrayRef> {
    let (start, len) = (a.numbers(1), a.numbers(2));
    build(a, |row| {
        let (Some(list), Some(start), Some(len)) =
            (elements(a, 0, row), start.get(row), len.get(row))
        else {
            return Ok(None);
        };
        if start == 0 {
            return invalid("SQL array indices start at 1");
        }
        if len < 0 {
            return invalid("length must be greater than or equal to 0");
        }
        let size = list.len() as i64;
        let from = if start > 0 { start - 1 } else { size + start };
        if !(0..size).contains(&from) {
            return Ok(Some(list.slice(0, 0)));
        }
        Ok(Some(
            list.slice(from as usize, len.min(size - from) as usize),
        ))
    })
}

fn sequence(a: &Arguments) -> Result<ArrayRef> {
    let (start, stop) = (a.numbers(0), a.numbers(1));
    let step = (a.len() == 3).then(|| a.numbers(2));
    a.give_number_lists(|row| {
        let (Some(start), Some(stop)) = (start.get(row), stop.get(row)) else {
            return Ok(None);
        };
        let step = match &step {
            Some(step) => step.get(row),
            None => Some(if start <= stop { 1 } else { -1 }),
        };
        let Some(step) = step else { return Ok(None) };
        if step == 0 {
            return invalid("step must not be zero");
        }
        if (step > 0 && start > stop) || (step < 0 && start < stop) {
            return invalid("sequence stop value should be greater than or equal to start value if step is greater than zero otherwise stop should be less than or equal to start");
        }
        let count = (i128::from(stop) - i128::from(start)) / i128::from(step) + 1;
        if count > i128::from(MAX_MADE) {
            return invalid(format!("result of sequence function must not have more than {MAX_MADE} entries"));
        }
        Ok(Some((0..count as i64).map(|place| Some(start + place * step)).collect()))
    })
}

fn of_map(a: &Arguments, column: usize) -> Result<ArrayRef> {
    build(a, |row| {
        Ok(elements(a, 0, row).map(|entries| Arc::clone(entries.as_struct().column(column))))
    })
}

fn extreme(a: &Arguments, is_max: bool) -> Result<ArrayRef> {
    let mut all = Vec::with_capacity(a.rows());
    for row in 0..a.rows() {
        let mut best = ScalarValue::try_from(a.result())?;
        if let Some(list) = elements(a, 0, row).filter(|list| list.null_count() == 0) {
            for place in 0..list.len() {
                let next = ScalarValue::try_from_array(&list, place)?;
                let is_better = match next.partial_cmp(&best) {
                    Some(order) if is_max => order.is_gt(),
                    Some(order) => order.is_lt(),
                    None => false,
                };
                if best.is_null() || is_better {
                    best = next;
                }
            }
        }
        all.push(best);
    }
    ScalarValue::iter_to_array(all)
}

/// What a place that is not there gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Null,
    Fails,
}

fn at(a: &Arguments, missing: Missing) -> Result<ArrayRef> {
    let mut all = Vec::with_capacity(a.rows());
    for row in 0..a.rows() {
        let found = match a.outcome(element(a, row, missing))? {
            Some(value) => value,
            None => ScalarValue::try_from(a.result())?,
        };
        all.push(found);
    }
    if all.is_empty() {
        return Ok(new_null_array(a.result(), 0));
    }
    ScalarValue::iter_to_array(all)
}

fn element(a: &Arguments, row: usize, missing: Missing) -> Result<Option<ScalarValue>> {
    let Some(list) = elements(a, 0, row).filter(|_| !a.is_null(1, row)) else {
        return Ok(None);
    };
    if let DataType::Map(..) = a.kind(0) {
        let entries = list.as_struct();
        let wanted = wanted(a, 1, row, entries.column(0).data_type())?;
        for place in 0..entries.len() {
            if ScalarValue::try_from_array(entries.column(0), place)? == wanted {
                return Ok(Some(ScalarValue::try_from_array(entries.column(1), place)?));
            }
        }
        return match missing {
            Missing::Null => Ok(None),
            Missing::Fails => invalid(format!("Key not present in map: {wanted}")),
        };
    }
    let Some(index) = a.numbers(1).get(row) else {
        return Ok(None);
    };
    let size = list.len() as i64;
    if index == 0 {
        return invalid("SQL array indices start at 1");
    }
    let place = if index > 0 { index - 1 } else { size + index };
    if (0..size).contains(&place) && (index > 0 || missing == Missing::Null) {
        return Ok(Some(ScalarValue::try_from_array(&list, place as usize)?));
    }
    match missing {
        Missing::Null => Ok(None),
        Missing::Fails if index < 0 => invalid(format!("Array subscript is negative: {index}")),
        Missing::Fails => invalid(format!(
            "Array subscript must be less than or equal to array length: {index} > {size}"
        )),
    }
}

/// `reverse` of an array.
pub(super) fn reverse(a: &Arguments) -> Result<ArrayRef> {
    rebuilt(a, |list| {
        Ok((0..list.len() as u32).rev().collect::<Vec<_>>().into())
    })
}

/// `concat` of arrays.
pub(super) fn concat(a: &Arguments) -> Result<ArrayRef> {
    build(a, |row| {
        let lists: Option<Vec<ArrayRef>> = (0..a.len())
            .map(|argument| elements(a, argument, row))
            .collect();
        let Some(lists) = lists else { return Ok(None) };
        let refs: Vec<&dyn Array> = lists.iter().map(AsRef::as_ref).collect();
        Ok(Some(datafusion::arrow::compute::concat(&refs)?))
    })
}
