//! `sum`, which fails where the engine's own wraps around.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use crate::embedded::error::{Code, Trouble};
use crate::embedded::text;

/// The sum of a column.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    signature: Signature,
}

impl Sum {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// Whole numbers are ours; the engine's own adds all else, and what is distinct.
    fn is_ours(args: &AccumulatorArgs<'_>) -> bool {
        *args.return_type() == DataType::Int64 && !args.is_distinct
    }
}

fn added(sum: i64, value: i64) -> Result<i64> {
    match sum.checked_add(value) {
        Some(sum) => Ok(sum),
        None => Trouble::new(
            Code::NumericValueOutOfRange,
            format!("bigint addition overflow: {sum} + {value}"),
        )
        .raise(),
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [of] if of.is_integer() => Ok(vec![DataType::Int64]),
            [DataType::Float32 | DataType::Float64 | DataType::Null] => Ok(vec![DataType::Float64]),
            [of] if of.is_decimal()
                || matches!(of, DataType::Duration(_) | DataType::Interval(_)) =>
            {
                Ok(vec![of.clone()])
            }
            _ => {
                let given: Vec<String> = types.iter().map(text::name).collect();
                Trouble::new(
                    Code::FunctionNotFound,
                    format!(
                        "Unexpected parameters ({}) for function sum. Expected: sum(bigint), sum(double)",
                        given.join(", ")
                    ),
                )
                .raise()
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let types = self.coerce_types(types)?;
        sum_udaf().return_type(&types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if Self::is_ours(&args) {
            return Ok(Box::<Whole>::default());
        }
        sum_udaf().accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if *args.return_type() == DataType::Int64 && !args.is_distinct {
            let name = format!("{}[sum]", args.name);
            return Ok(vec![Arc::new(Field::new(name, DataType::Int64, true))]);
        }
        sum_udaf().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        if Self::is_ours(&args) {
            return Ok(Box::<Groups>::default());
        }
        sum_udaf().create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        if Self::is_ours(&args) {
            return Ok(Box::<Whole>::default());
        }
        sum_udaf().create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The sum of whole numbers.
#[derive(Debug, Default)]
struct Whole {
    sum: i64,
    count: i64,
}

impl Accumulator for Whole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Int64Type>().iter().flatten() {
            self.sum = added(self.sum, value)?;
            self.count += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64((self.count > 0).then_some(self.sum)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Int64Type>().iter().flatten() {
            self.sum = self.sum.wrapping_sub(value);
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The same for many groups.
#[derive(Debug, Default)]
struct Groups {
    sums: Vec<i64>,
    has_value: Vec<bool>,
}

impl Groups {
    fn emit(&mut self, emit_to: EmitTo) -> Int64Array {
        let sums = emit_to.take_needed(&mut self.sums);
        let has_value = emit_to.take_needed(&mut self.has_value);
        sums.into_iter()
            .zip(has_value)
            .map(|(sum, has_value)| has_value.then_some(sum))
            .collect()
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.sums.resize(groups, 0);
        self.has_value.resize(groups, false);
        let values = values[0].as_primitive::<Int64Type>();
        for (row, &group) in group_indices.iter().enumerate() {
            let is_taken = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if is_taken && values.is_valid(row) {
                self.sums[group] = added(self.sums[group], values.value(row))?;
                self.has_value[group] = true;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.emit(emit_to)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.emit(emit_to))])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Int64Type>();
        let kept: Int64Array = (0..values.len())
            .map(|row| {
                let is_taken =
                    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
                (is_taken && values.is_valid(row)).then(|| values.value(row))
            })
            .collect();
        Ok(vec![Arc::new(kept)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.has_value.capacity()
    }
}
