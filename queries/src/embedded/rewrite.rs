//! Trino's words into the SQL engine's: what differs in syntax, not in types.
//!
//! Names that begin with `$` are functions of the pack that cannot be called by name.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::{DataType as Arrow, Field, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastKind, CharacterLength, DataType,
    DateTimeField, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, LimitClause,
    NullTreatment, ObjectName, OrderByExpr, Query, Select, SelectItem, SetExpr, Spanned, Subscript,
    TableFactor, TimezoneInfo, TrimWhereField, UnaryOperator, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use jiff::tz::TimeZone;

use super::dialect::{WINDOW, function_name, position};
use super::error::{Code, Trouble};
use super::functions::TRY;
use super::functions::casts::{CAST, timestamp};
use super::functions::times::parse_date;
use super::text;

/// What stands between a column's name and a number, where a name comes twice.
const TWICE: char = '\u{1}';

/// The most digits of a decimal.
const MAX_DECIMAL_DIGITS: u8 = 38;

/// A statement as the engine takes it.
pub(super) struct Rewritten {
    /// The statement.
    pub(super) query: Query,
    /// The names of its columns, where they can be told without the tables.
    names: Option<Vec<String>>,
}

impl Rewritten {
    /// The name of a column of the answer, by its place and what the engine calls it.
    pub(super) fn column_name(&self, place: usize, width: usize, engine: &str) -> String {
        match &self.names {
            Some(names) if names.len() == width => names[place].clone(),
            _ => engine.split(TWICE).next().unwrap_or_default().to_owned(),
        }
    }
}

/// Puts a statement into the engine's words. `now` is when it begins.
pub(super) fn rewrite(mut query: Query, now: jiff::Timestamp) -> Result<Rewritten, Trouble> {
    let names = names(&query.body);
    match query.visit(&mut Rewriter { now }) {
        ControlFlow::Break(trouble) => Err(trouble),
        ControlFlow::Continue(()) => Ok(Rewritten { query, names }),
    }
}

/// The names of a query's columns, as Trino gives them; none where a `*` stands for some.
fn names(set: &SetExpr) -> Option<Vec<String>> {
    match set {
        SetExpr::Select(select) => select
            .projection
            .iter()
            .enumerate()
            .map(|(place, item)| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident.value.clone()),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    parts.last().map(|last| last.value.clone())
                }
                SelectItem::UnnamedExpr(_) => Some(format!("_col{place}")),
                _ => None,
            })
            .collect(),
        SetExpr::Query(query) => names(&query.body),
        SetExpr::SetOperation { left, .. } => names(left),
        SetExpr::Values(values) => {
            let width = values.rows.first()?.content.len();
            Some((0..width).map(|place| format!("_col{place}")).collect())
        }
        _ => None,
    }
}

struct Rewriter {
    now: jiff::Timestamp,
}

impl VisitorMut for Rewriter {
    type Break = Trouble;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Trouble> {
        if let Some(fetch) = query.fetch.take() {
            let one = Expr::value(Value::Number("1".into(), false));
            let limit = Some(fetch.quantity.unwrap_or(one));
            query.limit_clause = Some(match query.limit_clause.take() {
                Some(LimitClause::LimitOffset { offset, .. }) => LimitClause::LimitOffset {
                    limit,
                    offset,
                    limit_by: vec![],
                },
                _ => LimitClause::LimitOffset {
                    limit,
                    offset: None,
                    limit_by: vec![],
                },
            });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Trouble> {
        if let TableFactor::Table {
            alias,
            args: Some(args),
            ..
        } = factor
        {
            let exprs = std::mem::take(&mut args.args)
                .into_iter()
                .filter_map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                    _ => None,
                });
            *factor = TableFactor::UNNEST {
                array_exprs: exprs.collect(),
                alias: alias.take(),
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            };
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Trouble> {
        name_columns(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Trouble> {
        // What `try` does reaches all the way down, so it is done before anything below is changed.
        if let Expr::Function(function) = expr
            && function_name(function).as_deref() == Some("try")
        {
            let span = function.name.span();
            let mut args = arguments(function);
            if args.len() != 1 {
                return ControlFlow::Break(
                    Trouble::new(
                        Code::SyntaxError,
                        "The 'try' function must have exactly one argument",
                    )
                    .at(position(span)),
                );
            }
            let mut inner = args.remove(0);
            if let ControlFlow::Break(trouble) = inner.visit(&mut Try) {
                return ControlFlow::Break(trouble);
            }
            *expr = Expr::Nested(Box::new(inner));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Trouble> {
        match self.expr(expr) {
            Ok(Some(other)) => {
                *expr = other;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(trouble) => ControlFlow::Break(trouble),
        }
    }
}

/// Gives each column a name of its own.
fn name_columns(select: &mut Select) {
    let mut taken: Vec<String> = Vec::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => lower(alias),
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => lower(ident),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                parts.last().map(lower).unwrap_or_default()
            }
            SelectItem::UnnamedExpr(_) => format!("_col{place}"),
            _ => continue,
        };
        let is_twice = taken.contains(&name);
        let alias = if is_twice {
            format!("{name}{TWICE}{place}")
        } else {
            name.clone()
        };
        taken.push(name);
        let taken_from = std::mem::replace(item, SelectItem::UnnamedExpr(Expr::value(Value::Null)));
        *item =
            match taken_from {
                SelectItem::UnnamedExpr(
                    expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
                ) if !is_twice => SelectItem::UnnamedExpr(expr),
                SelectItem::UnnamedExpr(expr) => SelectItem::ExprWithAlias {
                    expr,
                    alias: Ident::with_quote('"', alias),
                },
                SelectItem::ExprWithAlias { expr, .. } if is_twice => SelectItem::ExprWithAlias {
                    expr,
                    alias: Ident::with_quote('"', alias),
                },
                other => other,
            };
    }
}

fn lower(ident: &Ident) -> String {
    ident.value.to_ascii_lowercase()
}

impl Rewriter {
    /// Another expression in this one's place, if it has to be another.
    fn expr(&self, expr: &mut Expr) -> Result<Option<Expr>, Trouble> {
        let span = expr.span();
        Ok(Some(match expr {
            Expr::Identifier(ident) if ident.quote_style.is_some() => {
                // Names are the same in any case, quoted or not.
                ident.value = ident.value.to_ascii_lowercase();
                return Ok(None);
            }
            Expr::CompoundIdentifier(parts) => {
                for part in parts.iter_mut().filter(|part| part.quote_style.is_some()) {
                    part.value = part.value.to_ascii_lowercase();
                }
                return Ok(None);
            }
            Expr::Cast {
                kind,
                expr,
                data_type,
                ..
            } => {
                let name = match kind {
                    CastKind::TryCast => format!("{TRY}{CAST}"),
                    _ => CAST.to_owned(),
                };
                cast(&name, take(expr), data_type, span)?
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut whole = take(root);
                for access in access_chain.drain(..) {
                    if let AccessExpr::Subscript(Subscript::Index { index }) = access {
                        whole = call("$subscript", vec![whole, index]);
                    }
                }
                whole
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => at_time_zone(take(timestamp), time_zone)?,
            Expr::Extract { field, expr, .. } => {
                let name = field.to_string().to_ascii_lowercase();
                let known = [
                    "year",
                    "quarter",
                    "month",
                    "week",
                    "day",
                    "day_of_month",
                    "day_of_week",
                    "dow",
                    "day_of_year",
                    "doy",
                    "year_of_week",
                    "yow",
                    "hour",
                    "minute",
                    "second",
                ];
                if !known.contains(&name.as_str()) {
                    return Err(Trouble::new(
                        Code::SyntaxError,
                        format!("Invalid EXTRACT field: {name}"),
                    )
                    .at(position(span)));
                }
                call(&name, vec![take(expr)])
            }
            Expr::Ceil { expr, .. } => call("ceil", vec![take(expr)]),
            Expr::Floor { expr, .. } => call("floor", vec![take(expr)]),
            Expr::Position { expr, r#in } => call("strpos", vec![take(r#in), take(expr)]),
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                let mut args = vec![take(expr)];
                args.push(match substring_from {
                    Some(from) => take(from),
                    None => number(1),
                });
                args.extend(substring_for.as_mut().map(|len| take(len)));
                call("substr", args)
            }
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                ..
            } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "trim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![take(expr)];
                args.extend(trim_what.as_mut().map(|what| take(what)));
                call(name, args)
            }
            Expr::Like {
                pattern,
                escape_char,
                ..
            } => {
                let escape = match escape_char.take().map(|escape| escape.value) {
                    None => None,
                    Some(Value::SingleQuotedString(escape)) => Some(escape),
                    Some(other) => {
                        return Err(Trouble::new(
                            Code::SyntaxError,
                            format!("mismatched input '{other}'"),
                        )
                        .at(position(span)));
                    }
                };
                let Expr::Value(ValueWithSpan {
                    value: Value::SingleQuotedString(pattern),
                    ..
                }) = &mut **pattern
                else {
                    return Err(Trouble::new(
                        Code::NotSupported,
                        "the embedded engine takes a literal as LIKE's pattern only: use strpos() or regexp_like()",
                    )
                    .at(position(span)));
                };
                *pattern = like_pattern(pattern, escape.as_deref())
                    .map_err(|trouble| trouble.at(position(span)))?;
                return Ok(None);
            }
            Expr::TypedString(typed) => {
                let Value::SingleQuotedString(text) = &typed.value.value else {
                    return Ok(None);
                };
                literal(&typed.data_type, text, span)?
            }
            Expr::Value(value) => match &value.value {
                Value::HexStringLiteral(digits) => call("from_hex", vec![text_literal(digits)]),
                Value::UnicodeStringLiteral(text) => text_literal(text),
                Value::Number(digits, _) => match plain_number(digits) {
                    Ok(None) => return Ok(None),
                    Ok(Some(decimal)) => decimal,
                    Err(trouble) => return Err(trouble.at(position(span))),
                },
                _ => return Ok(None),
            },
            Expr::Interval(interval)
                if matches!(
                    interval.leading_field,
                    Some(DateTimeField::Month | DateTimeField::Year)
                ) && interval.last_field.is_none() =>
            {
                let Expr::Value(ValueWithSpan {
                    value: Value::SingleQuotedString(count),
                    ..
                }) = &*interval.value
                else {
                    return Ok(None);
                };
                let unit = interval.leading_field.as_ref().map(ToString::to_string);
                let text = format!("{count} {}", unit.unwrap_or_default().to_lowercase());
                typed_literal(&text, &Arrow::Interval(IntervalUnit::YearMonth))
            }
            Expr::Array(Array { elem, .. }) => call("make_array", std::mem::take(elem)),
            Expr::Function(function) => return self.function(function),
            _ => return Ok(None),
        }))
    }

    fn function(&self, function: &mut Function) -> Result<Option<Expr>, Trouble> {
        let span = function.name.span();
        let Some(name) = function_name(function) else {
            return Ok(None);
        };
        let arity = |expected: &str| {
            Trouble::new(
                Code::FunctionNotFound,
                format!("Unexpected parameters for function {name}. Expected: {expected}"),
            )
            .at(position(span))
        };
        Ok(Some(match name.as_str() {
            "now" | "current_timestamp" => {
                self.now_as(&Arrow::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
            }
            "localtimestamp" => self.now_as(&Arrow::Timestamp(TimeUnit::Millisecond, None)),
            "current_date" => typed_literal(
                &self.now.to_zoned_datetime(TimeZone::UTC).date().to_string(),
                &Arrow::Date32,
            ),
            "if" => {
                let mut args = arguments(function).into_iter();
                let (Some(condition), Some(result)) = (args.next(), args.next()) else {
                    return Err(arity("if(boolean, T[, T])"));
                };
                let otherwise = args.next();
                if args.next().is_some() {
                    return Err(arity("if(boolean, T[, T])"));
                }
                case(condition, result, otherwise)
            }
            "at_timezone" => {
                let mut args = arguments(function);
                if args.len() != 2 {
                    return Err(arity("at_timezone(timestamp with time zone, varchar)"));
                }
                let mut zone = args.remove(1);
                at_time_zone(args.remove(0), &mut zone)?
            }
            "count_if" => {
                let mut args = arguments(function);
                if args.len() != 1 {
                    return Err(arity("count_if(boolean)"));
                }
                let counted = case(args.remove(0), number(1), None);
                set_arguments(function, vec![counted]);
                rename(function, "count");
                return Ok(None);
            }
            // Any value will do, and the least one is the same each time.
            "arbitrary" | "any_value" => {
                rename(function, "min");
                return Ok(None);
            }
            "every" => {
                rename(function, "bool_and");
                return Ok(None);
            }
            "variance" => {
                rename(function, "var_samp");
                return Ok(None);
            }
            "bitwise_and_agg" | "bitwise_or_agg" | "bitwise_xor_agg" => {
                let other = name.replace("bitwise_", "bit_").replace("_agg", "");
                rename(function, &other);
                cast_whole(function, &Arrow::Int64)
            }
            "nullif" => {
                let mut args = arguments(function);
                if args.len() != 2 {
                    return Err(arity("nullif(T, T)"));
                }
                let (second, first) = (args.pop(), args.pop());
                let (Some(first), Some(second)) = (first, second) else {
                    return Ok(None);
                };
                // The value's type is the first one's.
                let same = Expr::BinaryOp {
                    left: Box::new(first.clone()),
                    op: BinaryOperator::Eq,
                    right: Box::new(second),
                };
                case(same, Expr::value(Value::Null), Some(first))
            }
            "approx_percentile" => {
                let mut args = arguments(function);
                if let Some(percentage) = args.get_mut(1) {
                    undo_decimal(percentage);
                }
                let plain =
                    args.len() == 2 && !matches!(args[1], Expr::Function(_) | Expr::Array(_));
                set_arguments(function, args);
                if !plain {
                    return Err(Trouble::new(
                        Code::NotSupported,
                        "the embedded engine has approx_percentile(x, percentage) only, without weights and arrays",
                    )
                    .at(position(span)));
                }
                return Ok(None);
            }
            "approx_distinct" => {
                let mut args = arguments(function);
                // The second one is the error that may be made; the engine's is smaller than Trino's default.
                args.truncate(1);
                set_arguments(function, args);
                cast_whole(function, &Arrow::Int64)
            }
            "listagg" => {
                let mut args = arguments(function);
                if args.len() == 1 {
                    args.push(text_literal(""));
                }
                set_arguments(function, args);
                let order: Vec<OrderByExpr> = std::mem::take(&mut function.within_group);
                if let FunctionArguments::List(list) = &mut function.args {
                    list.clauses.push(FunctionArgumentClause::OrderBy(order));
                }
                rename(function, "string_agg");
                cast_whole(function, &Arrow::Utf8View)
            }
            "filter" | "transform" | "any_match" => {
                // The engine gives a lambda's variables their types before it looks at numbers again.
                let mut args = arguments(function);
                for arg in &mut args {
                    let _ = arg.visit(&mut Integers);
                }
                set_arguments(function, args);
                rename(function, &format!("array_{name}"));
                return Ok(None);
            }
            "rand" => {
                rename(function, "random");
                return Ok(None);
            }
            "max" | "min" if arguments_len(function) > 1 => {
                return Err(Trouble::new(
                    Code::NotSupported,
                    format!("the embedded engine has {name}(x) only, without a number of values"),
                )
                .at(position(span)));
            }
            "typeof" => {
                let mut args = arguments(function);
                // How long a text is at most is part of its type there. Here that is only known of what is written out.
                if let [
                    Expr::Value(ValueWithSpan {
                        value: Value::SingleQuotedString(text),
                        ..
                    }),
                ] = &args[..]
                {
                    args = vec![text_literal(&format!("varchar({})", text.chars().count()))];
                    return Ok(args.pop());
                }
                set_arguments(function, args);
                return Ok(None);
            }
            "to_unixtime" => {
                let mut args = arguments(function);
                args.iter_mut().for_each(as_instant);
                set_arguments(function, args);
                return Ok(None);
            }
            window if WINDOW.contains(&window) => {
                if let FunctionArguments::List(list) = &mut function.args {
                    // Both places are allowed; the engine looks at one.
                    let is_nulls = |clause: &FunctionArgumentClause| {
                        matches!(
                            clause,
                            FunctionArgumentClause::IgnoreOrRespectNulls(
                                NullTreatment::IgnoreNulls
                            )
                        )
                    };
                    if list.clauses.iter().any(is_nulls) {
                        function.null_treatment = Some(NullTreatment::IgnoreNulls);
                        list.clauses.clear();
                    }
                }
                match window {
                    "row_number" | "rank" | "dense_rank" | "ntile" => {
                        cast_whole(function, &Arrow::Int64)
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        }))
    }

    fn now_as(&self, of: &Arrow) -> Expr {
        let text = self.now.strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string();
        match of {
            Arrow::Timestamp(unit, Some(_)) => {
                let clock = typed_literal(&text, &Arrow::Timestamp(*unit, None));
                arrow_cast(clock, of)
            }
            _ => typed_literal(&text, of),
        }
    }
}

/// Numbers that have room in an `integer` are of that type from the beginning.
struct Integers;

impl VisitorMut for Integers {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        }) = &*expr
            && digits.parse::<i32>().is_ok()
        {
            *expr = arrow_cast(take(expr), &Arrow::Int32);
        }
        ControlFlow::Continue(())
    }
}

/// What is inside of `try`: all that can fail there gives NULL.
struct Try;

impl VisitorMut for Try {
    type Break = Trouble;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Trouble> {
        let span = expr.span();
        let refuse = |what: &str| {
            ControlFlow::Break(
                Trouble::new(
                    Code::NotSupported,
                    format!("the embedded engine has no {what} inside of try(): put it outside"),
                )
                .at(position(span)),
            )
        };
        match expr {
            Expr::Cast { kind, .. } => *kind = CastKind::TryCast,
            // A NULL of ours inside of these would not make the whole one.
            Expr::Case { .. } => return refuse("CASE"),
            Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..) => {
                return refuse("IS");
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                return refuse("subquery");
            }
            Expr::BinaryOp { left, op, right } => {
                let name = match op {
                    BinaryOperator::Divide => "$divide",
                    BinaryOperator::Modulo => "$modulus",
                    BinaryOperator::Plus => "$add",
                    BinaryOperator::Minus => "$subtract",
                    BinaryOperator::Multiply => "$multiply",
                    BinaryOperator::And | BinaryOperator::Or => return refuse("AND and OR"),
                    _ => return ControlFlow::Continue(()),
                };
                *expr = call(&format!("{TRY}{name}"), vec![take(left), take(right)]);
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut whole = take(root);
                for access in access_chain.drain(..) {
                    if let AccessExpr::Subscript(Subscript::Index { index }) = access {
                        whole = call(&format!("{TRY}$subscript"), vec![whole, index]);
                    }
                }
                *expr = whole;
            }
            Expr::Function(function) => {
                let Some(name) = function_name(function) else {
                    return ControlFlow::Continue(());
                };
                match name.as_str() {
                    "coalesce" | "if" | "concat_ws" => return refuse(&name),
                    name if super::functions::is_scalar(name) => {
                        rename(function, &format!("{TRY}{name}"));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

fn number(number: u64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// A number without an exponent in the engine's words, where they differ: with a point it is a decimal, and not a double.
fn plain_number(digits: &str) -> Result<Option<Expr>, Trouble> {
    if digits.contains(['e', 'E']) {
        return Ok(None);
    }
    let Some((whole, fraction)) = digits.split_once('.') else {
        return match digits.parse::<i64>() {
            Ok(_) => Ok(None),
            Err(_) => Err(Trouble::new(
                Code::SyntaxError,
                format!("Invalid numeric literal: {digits}"),
            )),
        };
    };
    let scale = fraction.len();
    let precision = (whole.trim_start_matches('0').len() + scale).max(1);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=MAX_DECIMAL_DIGITS), Ok(scale)) => Ok(Some(typed_literal(
            digits,
            &Arrow::Decimal128(precision, scale),
        ))),
        _ => Err(Trouble::new(
            Code::NotSupported,
            format!("the embedded engine has decimals of {MAX_DECIMAL_DIGITS} digits at most"),
        )),
    }
}

/// The number that [`plain_number`] made a decimal, for the engine's functions that take a double.
fn undo_decimal(expr: &mut Expr) {
    if let Expr::Function(function) = &*expr
        && function_name(function).as_deref() == Some("arrow_cast")
        && let FunctionArguments::List(list) = &function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(digits),
            ..
        })))) = list.args.first()
        && digits.parse::<f64>().is_ok()
    {
        *expr = Expr::value(Value::Number(digits.clone(), false));
    }
}

fn text_literal(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

fn case(condition: Expr, result: Expr, otherwise: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(
        ),
        end_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: otherwise.map(Box::new),
    }
}

/// A call of a function of ours.
fn call(name: &str, args: Vec<Expr>) -> Expr {
    let mut function = Function {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::None,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    };
    set_arguments(&mut function, args);
    Expr::Function(function)
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::with_quote('"', name)]);
}

/// Takes a function's arguments.
fn arguments(function: &mut Function) -> Vec<Expr> {
    match &mut function.args {
        FunctionArguments::List(list) => std::mem::take(&mut list.args)
            .into_iter()
            .filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect(),
        _ => vec![],
    }
}

fn arguments_len(function: &Function) -> usize {
    match &function.args {
        FunctionArguments::List(list) => list.args.len(),
        _ => 0,
    }
}

fn set_arguments(function: &mut Function, args: Vec<Expr>) {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
        .collect();
    match &mut function.args {
        FunctionArguments::List(list) => list.args = args,
        other => {
            *other = FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args,
                clauses: vec![],
            });
        }
    }
}

fn arrow_cast(expr: Expr, to: &Arrow) -> Expr {
    call("arrow_cast", vec![expr, text_literal(&to.to_string())])
}

fn typed_literal(text: &str, of: &Arrow) -> Expr {
    arrow_cast(text_literal(text), of)
}

/// A function of the engine's whose answer is of another type in Trino.
fn cast_whole(function: &mut Function, to: &Arrow) -> Expr {
    let name = function.name.clone();
    let taken = std::mem::replace(
        function,
        Function {
            name,
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::None,
            filter: None,
            null_treatment: None,
            over: None,
            within_group: vec![],
        },
    );
    arrow_cast(Expr::Function(taken), to)
}

fn at_time_zone(time: Expr, zone: &mut Expr) -> Result<Expr, Trouble> {
    let span = zone.span();
    let Expr::Value(ValueWithSpan {
        value: Value::SingleQuotedString(name),
        ..
    }) = zone
    else {
        return Err(Trouble::new(
            Code::NotSupported,
            "the embedded engine takes a literal as AT TIME ZONE's zone only",
        )
        .at(position(span)));
    };
    if text::find_time_zone(name).is_none() {
        return Err(Trouble::new(
            Code::InvalidFunctionArgument,
            format!("'{name}' is not a valid time zone"),
        )
        .at(position(span)));
    }
    let name = if name.eq_ignore_ascii_case("utc") {
        "UTC"
    } else {
        name.as_str()
    };
    let mut time = time;
    as_instant(&mut time);
    let zone = Arrow::Timestamp(TimeUnit::Millisecond, Some(name.into()));
    let null = arrow_cast(Expr::value(Value::Null), &zone);
    Ok(call("$at_time_zone", vec![time, null]))
}

/// Where another zone is asked for, the zone that a text names does not count.
fn as_instant(time: &mut Expr) {
    if let Expr::Nested(inner) = time {
        return as_instant(inner);
    }
    let Expr::Function(function) = time else {
        return;
    };
    let Some(name) = function_name(function) else {
        return;
    };
    let (prefix, bare) = match name.strip_prefix(TRY) {
        Some(bare) => (TRY, bare),
        None => ("", name.as_str()),
    };
    if ["from_iso8601_timestamp", "parse_datetime"].contains(&bare) {
        rename(function, &format!("{prefix}$instant${bare}"));
    }
}

/// `LIKE`'s pattern with a backslash before what stands for itself, as the engine takes it.
fn like_pattern(pattern: &str, escape: Option<&str>) -> Result<String, Trouble> {
    let escape = match escape {
        None => None,
        Some(escape) => {
            let mut characters = escape.chars();
            match (characters.next(), characters.next()) {
                (Some(one), None) => Some(one),
                _ => {
                    return Err(Trouble::new(
                        Code::InvalidFunctionArgument,
                        "Escape string must be a single character",
                    ));
                }
            }
        }
    };
    let mut out = String::new();
    let mut characters = pattern.chars();
    while let Some(one) = characters.next() {
        if Some(one) == escape {
            match characters.next() {
                Some(quoted) if quoted == '%' || quoted == '_' || Some(quoted) == escape => {
                    if matches!(quoted, '%' | '_' | '\\') {
                        out.push('\\');
                    }
                    out.push(quoted);
                }
                _ => {
                    return Err(Trouble::new(
                        Code::InvalidFunctionArgument,
                        "Escape character must be followed by '%', '_' or the escape character itself",
                    ));
                }
            }
        } else if one == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(one);
        }
    }
    Ok(out)
}

/// `DATE '…'` and `TIMESTAMP '…'`.
fn literal(of: &DataType, text: &str, span: Span) -> Result<Expr, Trouble> {
    let invalid = |what: &str| {
        Trouble::new(
            Code::InvalidLiteral,
            format!("'{text}' is not a valid {what} literal"),
        )
        .at(position(span))
    };
    match of {
        DataType::Date => match parse_date(text.trim()) {
            Some(days) => Ok(typed_literal(&text::date(days), &Arrow::Date32)),
            None => Err(invalid("DATE")),
        },
        DataType::Timestamp(None, _) => {
            let Some(ns) = timestamp(text) else {
                return Err(invalid("TIMESTAMP"));
            };
            let digits = text.split_once('.').map_or(0, |(_, fraction)| {
                fraction.chars().take_while(char::is_ascii_digit).count()
            });
            let Some(unit) = unit(digits as u64) else {
                return Err(invalid("TIMESTAMP"));
            };
            let zone = text.rsplit_once(' ').map_or("", |(_, last)| last);
            let has_zone = zone.starts_with(|one: char| !one.is_ascii_digit());
            let zone = has_zone.then(|| zone.into());
            let per_unit = 10_i128.pow(9 - u32::from(text::precision(unit)));
            let value = arrow_cast(signed(ns / per_unit), &Arrow::Int64);
            Ok(match zone {
                None => arrow_cast(value, &Arrow::Timestamp(unit, None)),
                zone => arrow_cast(value, &Arrow::Timestamp(unit, zone)),
            })
        }
        DataType::JSON => Ok(call("json_parse", vec![text_literal(text)])),
        other => cast(CAST, text_literal(text), other, span),
    }
}

fn signed(number: i128) -> Expr {
    let digits = Expr::value(Value::Number(number.unsigned_abs().to_string(), false));
    if number < 0 {
        return Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(digits),
        };
    }
    digits
}

/// The unit that keeps so many digits of a second's fraction.
fn unit(digits: u64) -> Option<TimeUnit> {
    match digits {
        0 => Some(TimeUnit::Second),
        1..=3 => Some(TimeUnit::Millisecond),
        4..=6 => Some(TimeUnit::Microsecond),
        7..=9 => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}

fn cast(name: &str, expr: Expr, to: &DataType, span: Span) -> Result<Expr, Trouble> {
    let of = arrow(to).map_err(|trouble| trouble.at(position(span)))?;
    let null = arrow_cast(Expr::value(Value::Null), &of);
    let whole = call(name, vec![expr, null]);
    // A text that is too long is cut.
    Ok(match to {
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Char(Some(CharacterLength::IntegerLength { length, .. })) => {
            call("substr", vec![whole, number(1), number(*length)])
        }
        _ => whole,
    })
}

/// A type of Trino's in Arrow.
fn arrow(of: &DataType) -> Result<Arrow, Trouble> {
    let unknown = || {
        Trouble::new(
            Code::TypeMismatch,
            format!("Unknown type: {}", of.to_string().to_lowercase()),
        )
    };
    let elsewhere = || {
        Trouble::new(
            Code::NotSupported,
            format!(
                "the embedded engine casts to no {}",
                of.to_string().to_lowercase()
            ),
        )
    };
    Ok(match of {
        DataType::Boolean => Arrow::Boolean,
        DataType::TinyInt(None) => Arrow::Int8,
        DataType::SmallInt(None) => Arrow::Int16,
        DataType::Int(None) | DataType::Integer(None) => Arrow::Int32,
        DataType::BigInt(None) => Arrow::Int64,
        DataType::Real => Arrow::Float32,
        DataType::Double(ExactNumberInfo::None) | DataType::DoublePrecision => Arrow::Float64,
        DataType::Decimal(info) | DataType::Dec(info) => {
            let (precision, scale) = match info {
                ExactNumberInfo::None => (38, 0),
                ExactNumberInfo::Precision(precision) => (*precision, 0),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
            };
            match (u8::try_from(precision), i8::try_from(scale)) {
                (Ok(precision @ 1..=38), Ok(scale)) if scale >= 0 && scale as u8 <= precision => {
                    Arrow::Decimal128(precision, scale)
                }
                _ => return Err(unknown()),
            }
        }
        DataType::Varchar(_) | DataType::Char(_) => Arrow::Utf8View,
        DataType::Varbinary(None) => Arrow::Binary,
        DataType::Date => Arrow::Date32,
        DataType::Timestamp(precision, zone) => {
            let Some(unit) = unit(precision.unwrap_or(3)) else {
                return Err(elsewhere());
            };
            match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => Arrow::Timestamp(unit, None),
                TimezoneInfo::WithTimeZone => Arrow::Timestamp(unit, Some("UTC".into())),
                TimezoneInfo::Tz => return Err(unknown()),
            }
        }
        DataType::JSON => Arrow::LargeUtf8,
        DataType::Array(element) => {
            use datafusion::sql::sqlparser::ast::ArrayElemTypeDef as Element;
            match element {
                Element::Parenthesis(item) | Element::AngleBracket(item) => Arrow::List(
                    std::sync::Arc::new(Field::new_list_field(arrow(item)?, true)),
                ),
                _ => return Err(unknown()),
            }
        }
        DataType::Custom(name, _)
            if ["map", "row", "ipaddress"].contains(&name.to_string().to_lowercase().as_str()) =>
        {
            return Err(elsewhere());
        }
        DataType::Map(..) | DataType::Time(..) | DataType::Interval { .. } => {
            return Err(elsewhere());
        }
        _ => return Err(unknown()),
    })
}
