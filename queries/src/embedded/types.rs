//! Trino's rules of types, on the engine's plan before it applies its own, which are laxer: a text is not compared with a number, and
//! whole numbers do not wrap around.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, InList, InSubquery, Like, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarUDF, Union, cast,
};
use datafusion::optimizer::AnalyzerRule;

use super::error::{Code, Trouble};
use super::functions::{NO_DECIMALS, common};
use super::text;

/// The rule.
#[derive(Debug)]
pub(super) struct TrinoTypes {
    /// The checked operators, by name.
    operators: Vec<Arc<ScalarUDF>>,
}

impl TrinoTypes {
    /// `scalars` are the pack's functions.
    pub(super) fn new(scalars: &[Arc<ScalarUDF>]) -> Self {
        let operators = scalars
            .iter()
            .filter(|function| function.name().starts_with('$'));
        Self {
            operators: operators.cloned().collect(),
        }
    }

    fn plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            let of = DFSchema::try_from_qualified_schema(
                scan.table_name.clone(),
                &scan.source.schema(),
            )?;
            schema.merge(&of);
        }
        if matches!(plan, LogicalPlan::Limit(_)) {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new(&plan);
        let plan = plan
            .map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(|expr| self.expr(expr, &schema))?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?
            .map_data(|plan| match plan {
                // The engine does not look at their types again.
                LogicalPlan::Values(values) => {
                    let rows = values
                        .values
                        .into_iter()
                        .map(|row| row.into_iter().map(plain_null).collect());
                    LogicalPlanBuilder::values(rows.collect())?.build()
                }
                LogicalPlan::Union(union) => {
                    Union::try_new_with_loose_types(union.inputs).map(LogicalPlan::Union)
                }
                other => other.recompute_schema(),
            })?;
        check_plan(&plan.data, &schema)?;
        Ok(plan)
    }

    fn expr(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        if let Expr::Literal(ScalarValue::Int64(Some(number)), metadata) = &expr {
            // A number is an `integer` where it has room in one.
            return Ok(match i32::try_from(*number) {
                Ok(number) => Transformed::yes(Expr::Literal(
                    ScalarValue::Int32(Some(number)),
                    metadata.clone(),
                )),
                Err(_) => Transformed::no(expr),
            });
        }
        check(&expr, schema)?;
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let (of_left, of_right) = (kind(&left, schema), kind(&right, schema));
        let name = match op {
            Operator::Plus => "$add",
            Operator::Minus => "$subtract",
            Operator::Multiply => "$multiply",
            Operator::Divide => "$divide",
            Operator::Modulo => "$modulus",
            _ => "",
        };
        if op == Operator::Minus && of_left == DataType::Date32 && of_right == DataType::Date32 {
            // The engine's own is a number of days.
            let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
            let [left, right] = [left, right].map(|side| Box::new(cast(*side, ms.clone())));
            return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            })));
        }
        let function = self
            .operators
            .iter()
            .find(|function| function.name() == name);
        match function {
            Some(function) if of_left.is_integer() && of_right.is_integer() => {
                let args = vec![*left, *right];
                let call = ScalarFunction::new_udf(Arc::clone(function), args);
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            }))),
        }
    }
}

/// NULL without the type that the engine gave it for the sake of other rows.
fn plain_null(expr: Expr) -> Expr {
    match &expr {
        Expr::Literal(value, _) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        Expr::Cast(cast) if matches!(&*cast.expr, Expr::Literal(value, _) if value.is_null()) => {
            Expr::Literal(ScalarValue::Null, None)
        }
        _ => expr,
    }
}

impl AnalyzerRule for TrinoTypes {
    fn name(&self) -> &'static str {
        "trino_types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|plan| self.plan(plan))?
            .data)
    }
}

/// The type of an expression. Where it cannot be told, as for the variables of lambdas, it goes with any.
fn kind(expr: &Expr, schema: &DFSchema) -> DataType {
    expr.get_type(schema).unwrap_or(DataType::Null)
}

fn mismatch<T>(message: String) -> Result<T> {
    Trouble::new(Code::TypeMismatch, message).raise()
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::Utf8View | DataType::Null)
}

fn is_boolean(of: &DataType) -> bool {
    matches!(of, DataType::Boolean | DataType::Null)
}

fn same(left: &DataType, right: &DataType, operator: &str) -> Result<()> {
    if common(left, right).is_some() {
        return Ok(());
    }
    mismatch(format!(
        "Cannot apply operator: {} {operator} {}",
        text::name(left),
        text::name(right)
    ))
}

fn check(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let of = |expr: &Expr| kind(expr, schema);
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => operator(&of(left), *op, &of(right)),
        Expr::Not(inner) => term(&of(inner)),
        Expr::Negative(inner) => {
            let of = of(inner);
            let fits = of.is_numeric()
                || matches!(
                    of,
                    DataType::Null | DataType::Interval(_) | DataType::Duration(_)
                );
            if fits {
                return Ok(());
            }
            mismatch(format!("Cannot negate {}", text::name(&of)))
        }
        Expr::Like(Like { expr, pattern, .. }) => {
            let (value, pattern) = (of(expr), of(pattern));
            if is_text(&value) && is_text(&pattern) {
                return Ok(());
            }
            mismatch(format!(
                "Left side of LIKE expression must evaluate to a varchar (actual: {})",
                text::name(&value)
            ))
        }
        Expr::Between(Between {
            expr, low, high, ..
        }) => {
            let (value, low, high) = (of(expr), of(low), of(high));
            if common(&value, &low).is_some() && common(&value, &high).is_some() {
                return Ok(());
            }
            mismatch(format!(
                "Cannot check if {} is BETWEEN {} and {}",
                text::name(&value),
                text::name(&low),
                text::name(&high)
            ))
        }
        Expr::InList(InList { expr, list, .. }) => {
            let value = of(expr);
            for one in list {
                let one = of(one);
                if common(&value, &one).is_none() {
                    return mismatch(format!(
                        "IN value and list items must be the same type or coercible to a common type. Cannot find common type between {} and {}",
                        text::name(&value),
                        text::name(&one)
                    ));
                }
            }
            Ok(())
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. }) => {
            let value = of(expr);
            let one = subquery.subquery.schema().field(0).data_type().clone();
            if common(&value, &one).is_some() {
                return Ok(());
            }
            mismatch(format!(
                "Value expression and result of subquery must be of the same type: {} vs {}",
                text::name(&value),
                text::name(&one)
            ))
        }
        // Casts that a statement asks for are a function of ours; the engine makes these where the rows of VALUES differ.
        Expr::Cast(cast) => {
            let (from, to) = (of(&cast.expr), cast.field.data_type());
            if common(&from, to).is_some() {
                return Ok(());
            }
            mismatch(format!(
                "Values rows have mismatched types: {} vs {}",
                text::name(&from),
                text::name(to)
            ))
        }
        Expr::Case(case) => check_case(case, schema),
        Expr::ScalarFunction(function) if matches!(function.name(), "coalesce" | "make_array") => {
            let mut whole = DataType::Null;
            for arg in &function.args {
                let arg = of(arg);
                whole = match common(&whole, &arg) {
                    Some(whole) => whole,
                    None => {
                        return mismatch(format!(
                            "All {} operands must be the same type or coercible to a common type. Cannot find common type between {} and {}",
                            function.name().to_uppercase(),
                            text::name(&whole),
                            text::name(&arg)
                        ));
                    }
                };
            }
            Ok(())
        }
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let takes_numbers = matches!(
                func.name(),
                "avg"
                    | "stddev"
                    | "stddev_samp"
                    | "stddev_pop"
                    | "var"
                    | "var_samp"
                    | "var_pop"
                    | "corr"
                    | "covar_samp"
                    | "covar_pop"
                    | "regr_slope"
                    | "regr_intercept"
                    | "approx_percentile_cont"
            );
            let prefers_reals = matches!(
                func.name(),
                "corr" | "covar_samp" | "covar_pop" | "regr_slope" | "regr_intercept"
            );
            if prefers_reals && !params.args.iter().any(|arg| of(arg).is_floating()) {
                return Trouble::new(
                    Code::NotSupported,
                    format!(
                        "the embedded engine has {}() of doubles only, and Trino takes whole numbers as reals: cast to double",
                        func.name()
                    ),
                )
                .raise();
            }
            let takes_booleans = matches!(func.name(), "bool_and" | "bool_or");
            let takes_texts = func.name() == "string_agg";
            let adds = matches!(func.name(), "sum" | "avg");
            if adds && params.args.iter().any(|arg| of(arg).is_decimal()) {
                return Trouble::new(Code::NotSupported, NO_DECIMALS).raise();
            }
            for arg in &params.args {
                let of = of(arg);
                let fits = of == DataType::Null
                    || (!takes_numbers && !takes_booleans && !takes_texts)
                    || (takes_numbers && of.is_numeric())
                    || (takes_booleans && of == DataType::Boolean)
                    || (takes_texts && is_text(&of));
                if !fits {
                    return Trouble::new(
                        Code::FunctionNotFound,
                        format!(
                            "Unexpected parameters ({}) for function {}",
                            text::name(&of),
                            func.name()
                        ),
                    )
                    .raise();
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_case(case: &Case, schema: &DFSchema) -> Result<()> {
    let operand = case.expr.as_ref().map(|operand| kind(operand, schema));
    let mut whole = DataType::Null;
    for (when, then) in &case.when_then_expr {
        let when = kind(when, schema);
        match &operand {
            Some(operand) if common(operand, &when).is_none() => {
                return mismatch(format!(
                    "CASE operand type does not match WHEN clause operand type: {} vs {}",
                    text::name(operand),
                    text::name(&when)
                ));
            }
            None if !is_boolean(&when) => {
                return mismatch(format!(
                    "CASE WHEN clause must evaluate to a boolean (actual: {})",
                    text::name(&when)
                ));
            }
            _ => {}
        }
        whole = case_result(&whole, &kind(then, schema))?;
    }
    if let Some(otherwise) = &case.else_expr {
        case_result(&whole, &kind(otherwise, schema))?;
    }
    Ok(())
}

fn case_result(whole: &DataType, next: &DataType) -> Result<DataType> {
    match common(whole, next) {
        Some(whole) => Ok(whole),
        None => mismatch(format!(
            "All CASE results must be the same type or coercible to a common type. Cannot find common type between {} and {}",
            text::name(whole),
            text::name(next)
        )),
    }
}

fn term(of: &DataType) -> Result<()> {
    if is_boolean(of) {
        return Ok(());
    }
    mismatch(format!(
        "Logical expression term must evaluate to a boolean (actual: {})",
        text::name(of)
    ))
}

fn operator(left: &DataType, op: Operator, right: &DataType) -> Result<()> {
    let is_interval = |of: &DataType| matches!(of, DataType::Interval(_) | DataType::Duration(_));
    let is_time = |of: &DataType| matches!(of, DataType::Date32 | DataType::Timestamp(..));
    match op {
        Operator::And | Operator::Or => {
            term(left)?;
            term(right)
        }
        Operator::Plus
        | Operator::Minus
        | Operator::Multiply
        | Operator::Divide
        | Operator::Modulo => {
            let is_number = |of: &DataType| of.is_numeric() || *of == DataType::Null;
            if (left.is_decimal() || right.is_decimal())
                && !left.is_floating()
                && !right.is_floating()
            {
                return Trouble::new(Code::NotSupported, NO_DECIMALS).raise();
            }
            let fits = (is_number(left) && is_number(right))
                || (matches!(op, Operator::Plus | Operator::Minus)
                    && is_time(left)
                    && is_interval(right))
                || (op == Operator::Plus && is_interval(left) && is_time(right))
                || (op == Operator::Minus
                    && is_time(left)
                    && is_time(right)
                    && common(left, right).is_some())
                || (matches!(op, Operator::Plus | Operator::Minus)
                    && is_interval(left)
                    && is_interval(right));
            if fits {
                return Ok(());
            }
            mismatch(format!(
                "Cannot apply operator: {} {op} {}",
                text::name(left),
                text::name(right)
            ))
        }
        Operator::StringConcat => {
            let is_list = |of: &DataType| matches!(of, DataType::List(_));
            if (is_text(left) && is_text(right)) || (is_list(left) && is_list(right)) {
                return Ok(());
            }
            Trouble::new(
                Code::FunctionNotFound,
                format!(
                    "Unexpected parameters ({}, {}) for function concat",
                    text::name(left),
                    text::name(right)
                ),
            )
            .raise()
        }
        Operator::NotEq => same(left, right, "<>"),
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
            same(left, right, "IS DISTINCT FROM")
        }
        other => same(left, right, &other.to_string()),
    }
}

/// What is not in an expression: conditions as a whole, joined columns, and the parts of a union.
fn check_plan(plan: &LogicalPlan, schema: &DFSchema) -> Result<(), DataFusionError> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let of = kind(&filter.predicate, schema);
            if is_boolean(&of) {
                return Ok(());
            }
            mismatch(format!(
                "WHERE clause must evaluate to a boolean: actual type {}",
                text::name(&of)
            ))
        }
        LogicalPlan::Join(join) => {
            for (left, right) in &join.on {
                same(&kind(left, schema), &kind(right, schema), "=")?;
            }
            Ok(())
        }
        LogicalPlan::Union(union) => {
            let Some((first, rest)) = union.inputs.split_first() else {
                return Ok(());
            };
            for other in rest {
                let columns = first.schema().fields().iter().zip(other.schema().fields());
                for (place, (left, right)) in columns.enumerate() {
                    if common(left.data_type(), right.data_type()).is_none() {
                        return mismatch(format!(
                            "column {} in UNION query has incompatible types: {}, {}",
                            place + 1,
                            text::name(left.data_type()),
                            text::name(right.data_type())
                        ));
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
