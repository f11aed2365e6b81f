//! Aggregates that make maps: `histogram` and `map_agg`. The entries are in the order of their keys, so that an answer is the same
//! each time.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, MapArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use crate::embedded::error::{Code, Trouble};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    /// How often each value comes.
    Counts,
    /// One value for each key.
    Pairs,
}

pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    [Of::Counts, Of::Pairs]
        .map(|of| {
            Arc::new(AggregateUDF::new_from_impl(MapOf {
                of,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MapOf {
    of: Of,
    signature: Signature,
}

fn entries(key: &DataType, value: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("key", key.clone(), false),
        Field::new("value", value.clone(), true),
    ])
}

fn map(key: &DataType, value: &DataType) -> DataType {
    let entries = DataType::Struct(entries(key, value));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

impl AggregateUDFImpl for MapOf {
    fn name(&self) -> &'static str {
        match self.of {
            Of::Counts => "histogram",
            Of::Pairs => "map_agg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.of, types.len()) {
            (Of::Counts, 1) | (Of::Pairs, 2) => Ok(types.to_vec()),
            _ => Trouble::new(
                Code::FunctionNotFound,
                format!("Unexpected parameters for function {}", self.name()),
            )
            .raise(),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let types = self.coerce_types(types)?;
        Ok(map(&types[0], types.get(1).unwrap_or(&DataType::Int64)))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let value = args
            .expr_fields
            .get(1)
            .map_or(DataType::Int64, |field| field.data_type().clone());
        Ok(Box::new(Gathered {
            of: self.of,
            key: args.expr_fields[0].data_type().clone(),
            value,
            all: HashMap::new(),
            bytes: 0,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[map]", args.name);
        Ok(vec![Arc::new(Field::new(
            name,
            args.return_type().clone(),
            true,
        ))])
    }
}

#[derive(Debug)]
struct Gathered {
    of: Of,
    key: DataType,
    value: DataType,
    all: HashMap<ScalarValue, ScalarValue>,
    bytes: usize,
}

impl Gathered {
    fn add(
        &mut self,
        mut key: ScalarValue,
        value: impl FnOnce() -> Result<ScalarValue>,
    ) -> Result<()> {
        match (self.of, self.all.get_mut(&key)) {
            (Of::Counts, Some(ScalarValue::Int64(Some(count)))) => {
                if let ScalarValue::Int64(Some(more)) = value()? {
                    *count += more;
                }
            }
            (_, Some(_)) => {}
            (_, None) => {
                let mut value = value()?;
                key.compact();
                value.compact();
                self.bytes += key.size() + value.size();
                self.all.insert(key, value);
            }
        }
        Ok(())
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for row in 0..columns[0].len() {
            if columns[0].is_null(row) {
                continue;
            }
            let key = ScalarValue::try_from_array(&columns[0], row)?;
            match columns.get(1) {
                Some(values) => self.add(key, || ScalarValue::try_from_array(values, row))?,
                None => self.add(key, || Ok(ScalarValue::Int64(Some(1))))?,
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.all.is_empty() {
            return ScalarValue::try_from(&map(&self.key, &self.value));
        }
        let mut all: Vec<_> = self.all.iter().collect();
        all.sort_by(|a, b| a.0.partial_cmp(b.0).unwrap_or(std::cmp::Ordering::Equal));
        let keys = ScalarValue::iter_to_array(all.iter().map(|(key, _)| (*key).clone()))?;
        let values = ScalarValue::iter_to_array(all.iter().map(|(_, value)| (*value).clone()))?;
        let fields = entries(&self.key, &self.value);
        let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        let offsets = OffsetBuffer::from_lengths([entries.len()]);
        let map = MapArray::try_new(field, offsets, entries, None, false)?;
        Ok(ScalarValue::Map(Arc::new(map)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let maps = states[0].as_map();
        for row in 0..maps.len() {
            if maps.is_null(row) {
                continue;
            }
            let entries = maps.value(row);
            for place in 0..entries.len() {
                let key = ScalarValue::try_from_array(entries.column(0), place)?;
                self.add(key, || {
                    ScalarValue::try_from_array(entries.column(1), place)
                })?;
            }
        }
        Ok(())
    }
}
