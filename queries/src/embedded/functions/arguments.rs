//! What a function gets, and how it gives its answer: values by row, whatever they lie in.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryBuilder, BooleanArray, BooleanBuilder, Float64Array,
    Float64Builder, Int32Builder, Int64Array, Int64Builder, LargeStringBuilder, ListArray,
    ListBuilder, StringViewArray, StringViewBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;

use super::Failing;
use crate::embedded::error::{Code, Trouble};

/// A function's arguments.
pub(super) struct Arguments {
    columns: Vec<Column>,
    rows: usize,
    result: DataType,
    failing: Failing,
}

/// One argument: a value for every row, or one for all.
struct Column {
    array: ArrayRef,
    is_constant: bool,
}

/// The argument's values by row.
pub(super) struct Values<'a, A> {
    array: &'a A,
    is_constant: bool,
}

impl<A: Array> Values<'_, A> {
    fn place(&self, row: usize) -> Option<usize> {
        let place = if self.is_constant { 0 } else { row };
        self.array.is_valid(place).then_some(place)
    }

    pub(super) fn is_constant(&self) -> bool {
        self.is_constant
    }
}

impl<'a> Values<'a, StringViewArray> {
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl Values<'_, Int64Array> {
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl Values<'_, Float64Array> {
    pub(super) fn get(&self, row: usize) -> Option<f64> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl Values<'_, BooleanArray> {
    pub(super) fn get(&self, row: usize) -> Option<bool> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl Values<'_, ListArray> {
    pub(super) fn get(&self, row: usize) -> Option<ArrayRef> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl<'a> Values<'a, datafusion::arrow::array::BinaryArray> {
    pub(super) fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl<'a> Values<'a, datafusion::arrow::array::LargeStringArray> {
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.place(row).map(|place| self.array.value(place))
    }
}

impl Arguments {
    pub(super) fn new(
        values: Vec<ColumnarValue>,
        rows: usize,
        result: DataType,
        failing: Failing,
    ) -> Result<Self> {
        let columns = values
            .into_iter()
            .map(|value| {
                Ok(match value {
                    ColumnarValue::Array(array) => Column {
                        array,
                        is_constant: false,
                    },
                    ColumnarValue::Scalar(value) => Column {
                        array: value.to_array_of_size(1)?,
                        is_constant: true,
                    },
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let is_constant = columns.iter().all(|column| column.is_constant) && !columns.is_empty();
        Ok(Self {
            columns,
            rows: if is_constant { 1 } else { rows },
            result,
            failing,
        })
    }

    /// Whether the answer is the same for all rows.
    pub(super) fn is_constant(&self) -> bool {
        self.columns.iter().all(|column| column.is_constant) && !self.columns.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The type of the answer.
    pub(super) fn result(&self) -> &DataType {
        &self.result
    }

    /// The type of an argument.
    pub(super) fn kind(&self, argument: usize) -> &DataType {
        self.columns[argument].array.data_type()
    }

    /// An argument with a value for every row.
    pub(super) fn array(&self, argument: usize) -> Result<ArrayRef> {
        let column = &self.columns[argument];
        if column.is_constant && self.rows != 1 {
            let value = datafusion::common::ScalarValue::try_from_array(&column.array, 0)?;
            return value.to_array_of_size(self.rows);
        }
        Ok(Arc::clone(&column.array))
    }

    /// The place of a row in an argument's own array.
    pub(super) fn raw(&self, argument: usize, row: usize) -> (&ArrayRef, usize) {
        let column = &self.columns[argument];
        (&column.array, if column.is_constant { 0 } else { row })
    }

    pub(super) fn is_null(&self, argument: usize, row: usize) -> bool {
        let (array, place) = self.raw(argument, row);
        array.is_null(place) || *array.data_type() == DataType::Null
    }

    pub(super) fn texts(&self, argument: usize) -> Values<'_, StringViewArray> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_string_view(),
            is_constant: column.is_constant,
        }
    }

    pub(super) fn json(
        &self,
        argument: usize,
    ) -> Values<'_, datafusion::arrow::array::LargeStringArray> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_string::<i64>(),
            is_constant: column.is_constant,
        }
    }

    pub(super) fn numbers(&self, argument: usize) -> Values<'_, Int64Array> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_primitive::<Int64Type>(),
            is_constant: column.is_constant,
        }
    }

    /// Whole numbers of any width.
    pub(super) fn wholes(&self, argument: usize) -> Result<Wholes> {
        let column = &self.columns[argument];
        Ok(Wholes {
            array: cast(&column.array, &DataType::Int64)?,
            is_constant: column.is_constant,
        })
    }

    pub(super) fn doubles(&self, argument: usize) -> Values<'_, Float64Array> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_primitive::<Float64Type>(),
            is_constant: column.is_constant,
        }
    }

    pub(super) fn booleans(&self, argument: usize) -> Values<'_, BooleanArray> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_boolean(),
            is_constant: column.is_constant,
        }
    }

    pub(super) fn lists(&self, argument: usize) -> Values<'_, ListArray> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_list::<i32>(),
            is_constant: column.is_constant,
        }
    }

    pub(super) fn bytes(
        &self,
        argument: usize,
    ) -> Values<'_, datafusion::arrow::array::BinaryArray> {
        let column = &self.columns[argument];
        Values {
            array: column.array.as_binary::<i32>(),
            is_constant: column.is_constant,
        }
    }

    /// A time, or a day, as ns since 1970 for each row, in the unit's own steps.
    pub(super) fn times(&self, argument: usize) -> Result<Times> {
        let column = &self.columns[argument];
        let (unit, zone) = match column.array.data_type() {
            DataType::Timestamp(unit, zone) => (*unit, zone.as_deref().map(str::to_owned)),
            _ => (TimeUnit::Millisecond, None),
        };
        let array = if matches!(column.array.data_type(), DataType::Timestamp(..)) {
            cast(&column.array, &DataType::Int64)?
        } else {
            let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
            cast(&cast(&column.array, &ms)?, &DataType::Int64)?
        };
        Ok(Times {
            array,
            is_constant: column.is_constant,
            unit,
            zone,
        })
    }

    /// What the function fails with, or NULL.
    pub(super) fn outcome<T>(&self, value: Result<Option<T>>) -> Result<Option<T>> {
        match (value, self.failing) {
            // What only this engine cannot do is no failure of the value's.
            (Err(error), Failing::Null) if !is_not_supported(&error) => Ok(None),
            (value, _) => value,
        }
    }

    pub(super) fn give_texts<S: AsRef<str>>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<S>>,
    ) -> Result<ArrayRef> {
        if self.result == DataType::LargeUtf8 {
            let mut builder = LargeStringBuilder::new();
            for row in 0..self.rows {
                builder.append_option(self.outcome(value(row))?);
            }
            return Ok(Arc::new(builder.finish()));
        }
        let mut builder = StringViewBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_numbers(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<i64>>,
    ) -> Result<ArrayRef> {
        let mut builder = Int64Builder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        let numbers: ArrayRef = Arc::new(builder.finish());
        if self.result == DataType::Int64 {
            return Ok(numbers);
        }
        if self.result == DataType::Date32 {
            return Ok(cast(&cast(&numbers, &DataType::Int32)?, &DataType::Date32)?);
        }
        Ok(cast(&numbers, &self.result)?)
    }

    /// Numbers as they are, whatever the answer's type: to be cast by the function.
    pub(super) fn give_whole(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<i64>>,
    ) -> Result<ArrayRef> {
        let mut builder = Int64Builder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_integers(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<i32>>,
    ) -> Result<ArrayRef> {
        let mut builder = Int32Builder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_doubles(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<f64>>,
    ) -> Result<ArrayRef> {
        let mut builder = Float64Builder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_booleans(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<bool>>,
    ) -> Result<ArrayRef> {
        let mut builder = BooleanBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_bytes<B: AsRef<[u8]>>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<B>>,
    ) -> Result<ArrayRef> {
        let mut builder = BinaryBuilder::new();
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_text_lists(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<Vec<Option<String>>>>,
    ) -> Result<ArrayRef> {
        let field = Field::new_list_field(DataType::Utf8View, true);
        let mut builder = ListBuilder::new(StringViewBuilder::new()).with_field(field);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(super) fn give_number_lists(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<Vec<Option<i64>>>>,
    ) -> Result<ArrayRef> {
        let field = Field::new_list_field(DataType::Int64, true);
        let mut builder = ListBuilder::new(Int64Builder::new()).with_field(field);
        for row in 0..self.rows {
            builder.append_option(self.outcome(value(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }
}

fn is_not_supported(error: &DataFusionError) -> bool {
    matches!(error, DataFusionError::External(error)
        if error.downcast_ref::<Trouble>().is_some_and(|trouble| trouble.code == Code::NotSupported))
}

/// Whole numbers by row.
pub(super) struct Wholes {
    array: ArrayRef,
    is_constant: bool,
}

impl Wholes {
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        let numbers = self.array.as_primitive::<Int64Type>();
        let place = if self.is_constant { 0 } else { row };
        numbers.is_valid(place).then(|| numbers.value(place))
    }
}

/// Times by row.
pub(super) struct Times {
    array: ArrayRef,
    is_constant: bool,
    pub(super) unit: TimeUnit,
    pub(super) zone: Option<String>,
}

impl Times {
    /// In the unit, since 1970 in UTC.
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        let numbers = self.array.as_primitive::<Int64Type>();
        let place = if self.is_constant { 0 } else { row };
        numbers.is_valid(place).then(|| numbers.value(place))
    }

    /// How many of the unit are a second.
    pub(super) fn per_second(&self) -> i64 {
        10_i64.pow(u32::from(crate::embedded::text::precision(self.unit)))
    }
}
