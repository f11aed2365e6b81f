//! `max_by` and `min_by`: the value of the row in which another one is the greatest or the least.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, make_comparator};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use crate::embedded::error::{Code, Trouble};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum By {
    Max,
    Min,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::Max => "max_by",
            Self::Min => "min_by",
        }
    }

    fn prefers(self, order: Ordering) -> bool {
        match self {
            Self::Max => order == Ordering::Greater,
            Self::Min => order == Ordering::Less,
        }
    }
}

pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    [By::Max, By::Min]
        .map(|by| {
            Arc::new(AggregateUDF::new_from_impl(Ranked {
                by,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ranked {
    by: By,
    signature: Signature,
}

impl AggregateUDFImpl for Ranked {
    fn name(&self) -> &str {
        self.by.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, _] => Ok(types.to_vec()),
            _ => Trouble::new(
                Code::NotSupported,
                format!(
                    "the embedded engine has {}(x, y) only, without a number of values",
                    self.by.name()
                ),
            )
            .raise(),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.coerce_types(types)?.remove(0))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Best {
            by: self.by,
            value: ScalarValue::try_from(args.expr_fields[0].data_type())?,
            rank: ScalarValue::try_from(args.expr_fields[1].data_type())?,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |place: usize, name: &str| {
            let of = args.input_fields[place].data_type().clone();
            Arc::new(Field::new(format!("{}[{name}]", args.name), of, true))
        };
        Ok(vec![field(0, "value"), field(1, "rank")])
    }
}

#[derive(Debug)]
struct Best {
    by: By,
    value: ScalarValue,
    rank: ScalarValue,
}

impl Accumulator for Best {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let (values, ranks) = (&columns[0], &columns[1]);
        let compare = make_comparator(ranks, ranks, SortOptions::default())?;
        let mut best: Option<usize> = None;
        for row in 0..ranks.len() {
            let is_better = best.is_none_or(|best| self.by.prefers(compare(row, best)));
            if ranks.is_valid(row) && is_better {
                best = Some(row);
            }
        }
        let Some(row) = best else {
            return Ok(());
        };
        let rank = ScalarValue::try_from_array(ranks, row)?;
        let order = rank.partial_cmp(&self.rank);
        if self.rank.is_null() || order.is_some_and(|order| self.by.prefers(order)) {
            // The batch must not live on for one value's sake.
            self.value = ScalarValue::try_from_array(values, row)?;
            self.value.compact();
            self.rank = rank;
            self.rank.compact();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<By>() + self.value.size() + self.rank.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.rank.clone()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
