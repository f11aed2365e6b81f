//! `approx_percentile`: the engine's t-digest, with the answer in the type of the values, as in Trino. Both are approximate: for many
//! values, within about 1 % of the rank; for up to a hundred of them, the value itself.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use crate::embedded::error::{Code, Trouble};
use crate::embedded::text;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    signature: Signature,
}

pub(super) fn aggregate() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Percentile {
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

fn double(name: &str) -> FieldRef {
    Arc::new(Field::new(name, DataType::Float64, true))
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &'static str {
        "approx_percentile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [of, part] if part.is_numeric() && (of.is_numeric() || of.is_null()) => {
                let of = if of.is_integer() {
                    DataType::Int64
                } else {
                    DataType::Float64
                };
                Ok(vec![of, DataType::Float64])
            }
            _ => {
                let given: Vec<String> = types.iter().map(text::name).collect();
                Trouble::new(
                    Code::FunctionNotFound,
                    format!(
                        "Unexpected parameters ({}) for function approx_percentile",
                        given.join(", ")
                    ),
                )
                .raise()
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.coerce_types(types)?.remove(0))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let is_whole = *args.return_type() == DataType::Int64;
        let fields = [double("x"), double("percentage")];
        let inner = approx_percentile_cont_udaf().accumulator(AccumulatorArgs {
            return_field: double(args.name),
            expr_fields: &fields,
            ..args
        })?;
        Ok(Box::new(OfType { inner, is_whole }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let fields = [double("x"), double("percentage")];
        approx_percentile_cont_udaf().state_fields(StateFieldsArgs {
            return_field: double(args.name),
            input_fields: &fields,
            ..args
        })
    }
}

/// The engine's own, which knows doubles only.
#[derive(Debug)]
struct OfType {
    inner: Box<dyn Accumulator>,
    is_whole: bool,
}

impl Accumulator for OfType {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut values = values.to_vec();
        values[0] = cast(&values[0], &DataType::Float64)?;
        self.inner.update_batch(&values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        if !self.is_whole {
            return Ok(value);
        }
        Ok(match value {
            ScalarValue::Float64(Some(value)) => ScalarValue::Int64(Some(value.round() as i64)),
            _ => ScalarValue::Int64(None),
        })
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}
