//! Trino's SQL, as far as the embedded engine has true answers to it: what Athena would refuse is refused here too, and so is what
//! only Athena can answer.
//!
//! The parser takes more than Trino does. So every part of a statement has to be on the lists below to pass.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, Distinct, DuplicateTreatment, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, GroupByExpr,
    Ident, JoinConstraint, JoinOperator, LimitClause, OrderBy, OrderByKind, Query, Select,
    SelectItem, SetExpr, SetQuantifier, Spanned, Statement, Subscript, TableFactor, TableWithJoins,
    UnaryOperator, Value, Visit, Visitor, WildcardAdditionalOptions, WindowType,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

use super::error::{Code, Position, Trouble};
use super::functions;

/// The deepest nesting of a statement.
const MAX_DEPTH: usize = 100;

/// The longest statement, in bytes: Athena's limit.
pub const MAX_STATEMENT_BYTES: usize = 262_144;

/// Functions of the SQL engine that answer as Trino's do, or are put in its words before they run.
const OTHER_SCALARS: [&str; 15] = [
    "coalesce",
    "nullif",
    "if",
    "try",
    "map",
    "now",
    "random",
    "rand",
    "filter",
    "transform",
    "any_match",
    "current_date",
    "current_timestamp",
    "localtimestamp",
    "at_timezone",
];

/// Aggregates that the engine answers.
const AGGREGATES: [&str; 34] = [
    "count",
    "count_if",
    "sum",
    "avg",
    "min",
    "max",
    "min_by",
    "max_by",
    "arbitrary",
    "any_value",
    "bool_and",
    "bool_or",
    "every",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "variance",
    "var_samp",
    "var_pop",
    "corr",
    "covar_samp",
    "covar_pop",
    "regr_slope",
    "regr_intercept",
    "approx_distinct",
    "approx_percentile",
    "array_agg",
    "histogram",
    "map_agg",
    "listagg",
    "bitwise_and_agg",
    "bitwise_or_agg",
    "bitwise_xor_agg",
    "grouping",
];

/// Functions of a window that the engine answers.
pub(super) const WINDOW: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

/// Functions that Trino has and the embedded engine has not.
const ELSEWHERE: [&str; 66] = [
    "all_match",
    "none_match",
    "reduce",
    "reduce_agg",
    "zip",
    "zip_with",
    "array_intersect",
    "array_union",
    "array_except",
    "arrays_overlap",
    "array_first",
    "array_last",
    "flatten",
    "ngrams",
    "combinations",
    "shuffle",
    "repeat",
    "trim_array",
    "map_filter",
    "map_concat",
    "map_from_entries",
    "map_entries",
    "map_union",
    "map_zip_with",
    "multimap_agg",
    "multimap_from_entries",
    "split_to_map",
    "split_to_multimap",
    "transform_keys",
    "transform_values",
    "approx_most_frequent",
    "approx_set",
    "merge",
    "checksum",
    "numeric_histogram",
    "geometric_mean",
    "skewness",
    "kurtosis",
    "entropy",
    "soundex",
    "word_stem",
    "normalize",
    "sha1",
    "sha512",
    "murmur3",
    "json_value",
    "json_query",
    "json_exists",
    "json_object",
    "json_array",
    "with_timezone",
    "current_timezone",
    "timezone_hour",
    "timezone_minute",
    "parse_duration",
    "human_readable_seconds",
    "uuid",
    "hmac_sha256",
    "luhn_check",
    "row",
    "to_base64url",
    "from_base64url",
    "from_big_endian_64",
    "to_big_endian_64",
    "from_iso8601_timestamp_nanos",
    "format_number",
];

/// What stands without parentheses.
const CLOCKS: [&str; 5] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
];

/// Trino's words and signs.
#[derive(Debug)]
struct TrinoDialect;

impl Dialect for TrinoDialect {
    fn is_identifier_start(&self, one: char) -> bool {
        one.is_ascii_alphabetic() || one == '_'
    }

    fn is_identifier_part(&self, one: char) -> bool {
        one.is_ascii_alphanumeric() || one == '_'
    }

    fn is_delimited_identifier_start(&self, one: char) -> bool {
        one == '"'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_within_after_array_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn require_interval_qualifier(&self) -> bool {
        true
    }

    fn supports_boolean_literals(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }
}

/// A statement that Trino takes and the engine can answer.
pub(super) fn parse(sql: &str) -> Result<Query, Trouble> {
    if sql.len() > MAX_STATEMENT_BYTES {
        return Err(Trouble::new(
            Code::SyntaxError,
            format!(
                "the statement has {} bytes; Athena takes {MAX_STATEMENT_BYTES}",
                sql.len()
            ),
        ));
    }
    let tokens = Tokenizer::new(&TrinoDialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax(&error.into()))?;
    check_tokens(&tokens)?;
    let parsed = Parser::new(&TrinoDialect)
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens_with_locations(with_array_types(tokens))
        .parse_statements()
        .map_err(|error| syntax(&error))?;
    let mut statements = parsed.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(Trouble::new(Code::SyntaxError, "one statement is expected"));
    };
    let query = match statement {
        Statement::Query(query) => *query,
        other => {
            let text = other.to_string();
            let word = text.split_whitespace().next().unwrap_or_default();
            return Err(refused(
                other.span(),
                format!("the embedded engine runs SELECT only, not {word}"),
            ));
        }
    };
    match query.visit(&mut Gate) {
        ControlFlow::Break(trouble) => Err(trouble),
        ControlFlow::Continue(()) => Ok(query),
    }
}

/// What the parser takes and Trino does not, or the other way round, as far as the signs alone tell.
fn check_tokens(tokens: &[TokenWithSpan]) -> Verdict {
    let mut is_behind_values = false;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::DoubleEq => return Err(mismatched(token.span, "=")),
            Token::LParen => {}
            _ if is_behind_values => {
                return Err(refused(
                    token.span,
                    "the embedded engine takes rows of VALUES in parentheses only: VALUES (1), (2)",
                ));
            }
            _ => {}
        }
        is_behind_values =
            matches!(&token.token, Token::Word(word) if word.keyword == Keyword::VALUES);
    }
    Ok(())
}

/// Types like `array(bigint)` as the parser takes them: `array<bigint>`. No function has that name.
fn with_array_types(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    // Whether each bracket that is open is an array's.
    let mut open = Vec::new();
    let mut is_behind_array = false;
    for token in &mut tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen => {
                open.push(is_behind_array);
                if is_behind_array {
                    token.token = Token::Lt;
                }
            }
            Token::RParen if open.pop() == Some(true) => token.token = Token::Gt,
            _ => {}
        }
        is_behind_array =
            matches!(&token.token, Token::Word(word) if word.keyword == Keyword::ARRAY);
    }
    tokens
}

fn syntax(error: &ParserError) -> Trouble {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return Trouble::new(
                Code::SyntaxError,
                "statement is too large (stack overflow while parsing)",
            );
        }
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.as_str(),
    };
    let number = |after: &str| -> Option<u64> {
        let rest = &text[text.rfind(after)? + after.len()..];
        let end = rest
            .find(|one: char| !one.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let position = number("Line: ")
        .zip(number("Column: "))
        .map(|(line, column)| Position { line, column });
    let message = text.split(" at Line").next().unwrap_or(text);
    let message = match message.split_once(", found: ") {
        Some((expected, found)) => {
            let expected = expected.trim_start_matches("Expected: ");
            let found = if found == "EOF" { "<EOF>" } else { found };
            format!("mismatched input '{found}'. Expecting: {expected}")
        }
        None => message.to_owned(),
    };
    Trouble::new(Code::SyntaxError, message).at(position)
}

/// Where something begins.
pub(super) fn position(span: Span) -> Option<Position> {
    let start = span.start;
    (start.line > 0).then_some(Position {
        line: start.line,
        column: start.column,
    })
}

fn mismatched(span: Span, what: &str) -> Trouble {
    Trouble::new(Code::SyntaxError, format!("mismatched input '{what}'")).at(position(span))
}

fn refused(span: Span, message: impl Into<String>) -> Trouble {
    Trouble::new(Code::NotSupported, message).at(position(span))
}

/// Looks at every part of a statement.
struct Gate;

type Verdict = Result<(), Trouble>;

fn verdict(verdict: Verdict) -> ControlFlow<Trouble> {
    match verdict {
        Ok(()) => ControlFlow::Continue(()),
        Err(trouble) => ControlFlow::Break(trouble),
    }
}

impl Visitor for Gate {
    type Break = Trouble;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Trouble> {
        verdict(check_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Trouble> {
        verdict(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Trouble> {
        verdict(check_factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Trouble> {
        verdict(check_expr(expr))
    }
}

fn check_query(query: &Query) -> Verdict {
    if let Some(with) = &query.with {
        if with.recursive {
            return Err(refused(
                with.span(),
                "the embedded engine has no recursive queries",
            ));
        }
        for cte in &with.cte_tables {
            if cte.materialized.is_some() || cte.from.is_some() {
                return Err(mismatched(cte.alias.name.span, "MATERIALIZED"));
            }
        }
    }
    check_set(&query.body)?;
    if let Some(OrderBy { kind, interpolate }) = &query.order_by {
        let is_plain = match kind {
            OrderByKind::All(_) => false,
            OrderByKind::Expressions(all) => all.iter().all(|one| one.with_fill.is_none()),
        };
        if !is_plain || interpolate.is_some() {
            return Err(mismatched(query.span(), "ALL"));
        }
    }
    match &query.limit_clause {
        None => {}
        Some(LimitClause::OffsetCommaLimit { offset, .. }) => {
            return Err(mismatched(offset.span(), ","));
        }
        Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        }) => {
            if let Some(by) = limit_by.first() {
                return Err(mismatched(by.span(), "BY"));
            }
            let values = limit
                .iter()
                .chain(offset.iter().map(|offset| &offset.value));
            for value in values {
                if !matches!(value, Expr::Value(value) if matches!(&value.value, Value::Number(digits, false) if digits.parse::<u64>().is_ok()))
                {
                    return Err(mismatched(value.span(), &value.to_string()));
                }
            }
            if let (Some(limit), Some(offset)) = (limit, offset)
                && limit.span().start < offset.value.span().start
            {
                return Err(Trouble::new(
                    Code::SyntaxError,
                    "mismatched input 'OFFSET'. Expecting: <EOF> (OFFSET stands before LIMIT)",
                )
                .at(position(offset.value.span())));
            }
        }
    }
    if let Some(fetch) = &query.fetch {
        if fetch.percent {
            return Err(mismatched(query.span(), "PERCENT"));
        }
        if fetch.with_ties {
            return Err(refused(
                query.span(),
                "the embedded engine has no WITH TIES",
            ));
        }
    }
    let is_plain = query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    if !is_plain {
        return Err(mismatched(query.span(), "FOR"));
    }
    Ok(())
}

fn check_set(set: &SetExpr) -> Verdict {
    match set {
        SetExpr::Values(values) if values.value_keyword => Err(mismatched(set.span(), "VALUE")),
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => Ok(()),
        SetExpr::SetOperation {
            left,
            right,
            set_quantifier,
            ..
        } => {
            if !matches!(
                set_quantifier,
                SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None
            ) {
                return Err(mismatched(set.span(), "BY NAME"));
            }
            check_set(left)?;
            check_set(right)
        }
        _ => Err(refused(set.span(), "the embedded engine runs SELECT only")),
    }
}

fn check_select(select: &Select) -> Verdict {
    let span = select.span();
    match &select.distinct {
        None | Some(Distinct::Distinct | Distinct::All) => {}
        Some(Distinct::On(_)) => return Err(mismatched(span, "ON")),
    }
    if let Some(qualify) = &select.qualify {
        return Err(mismatched(qualify.span(), "QUALIFY"));
    }
    if let Some(into) = &select.into {
        return Err(mismatched(into.name.span(), "INTO"));
    }
    let is_plain = select.top.is_none()
        && select.select_modifiers.is_none()
        && select.exclude.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.value_table_mode.is_none();
    if !is_plain {
        return Err(
            Trouble::new(Code::SyntaxError, "a clause that Trino does not know").at(position(span)),
        );
    }
    for item in &select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } if alias.quote_style == Some('\'') => {
                return Err(mismatched(alias.span, &alias.to_string()));
            }
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => {}
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                check_wildcard(options, span)?;
            }
            SelectItem::ExprWithAliases { expr, .. } => return Err(mismatched(expr.span(), "(")),
        }
    }
    match &select.group_by {
        GroupByExpr::All(_) => return Err(mismatched(span, "ALL")),
        GroupByExpr::Expressions(_, modifiers) if !modifiers.is_empty() => {
            return Err(mismatched(span, "WITH"));
        }
        GroupByExpr::Expressions(..) => {}
    }
    for table in &select.from {
        check_joins(table)?;
    }
    Ok(())
}

fn check_wildcard(options: &WildcardAdditionalOptions, span: Span) -> Verdict {
    let is_plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none();
    if is_plain {
        Ok(())
    } else {
        Err(mismatched(span, "EXCEPT"))
    }
}

fn check_joins(table: &TableWithJoins) -> Verdict {
    for join in &table.joins {
        let constraint = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => constraint,
            JoinOperator::CrossJoin(JoinConstraint::None) => continue,
            _ => return Err(mismatched(join.relation.span(), "JOIN")),
        };
        match constraint {
            JoinConstraint::On(_) | JoinConstraint::Using(_) => {}
            JoinConstraint::Natural => {
                return Err(refused(join.relation.span(), "Natural join not supported"));
            }
            JoinConstraint::None => {
                return Err(Trouble::new(
                    Code::SyntaxError,
                    "mismatched input '<EOF>'. Expecting: 'ON', 'USING'",
                )
                .at(position(join.relation.span())));
            }
        }
    }
    Ok(())
}

fn check_factor(factor: &TableFactor) -> Verdict {
    match factor {
        TableFactor::Table {
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample,
            index_hints,
            ..
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
            match sample {
                None => Ok(()),
                Some(_) => Err(refused(
                    factor.span(),
                    "the embedded engine has no TABLESAMPLE",
                )),
            }
        }
        TableFactor::Table {
            name,
            args: Some(args),
            with_ordinality,
            sample: None,
            ..
        } if name.to_string().eq_ignore_ascii_case("unnest") && args.settings.is_none() => {
            if *with_ordinality {
                return Err(refused(
                    factor.span(),
                    "the embedded engine has no UNNEST … WITH ORDINALITY",
                ));
            }
            let is_plain =
                |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
            if args.args.is_empty() || !args.args.iter().all(is_plain) {
                return Err(mismatched(factor.span(), "UNNEST"));
            }
            Ok(())
        }
        TableFactor::Derived { lateral: true, .. } => {
            Err(refused(factor.span(), "the embedded engine has no LATERAL"))
        }
        TableFactor::Derived { sample: None, .. } => Ok(()),
        TableFactor::UNNEST {
            with_offset: false,
            with_ordinality,
            ..
        } => {
            if *with_ordinality {
                return Err(refused(
                    factor.span(),
                    "the embedded engine has no UNNEST … WITH ORDINALITY",
                ));
            }
            Ok(())
        }
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => check_joins(table_with_joins),
        TableFactor::MatchRecognize { .. } => Err(refused(
            factor.span(),
            "the embedded engine has no MATCH_RECOGNIZE",
        )),
        _ => Err(refused(
            factor.span(),
            "the embedded engine reads tables, subqueries and UNNEST only",
        )),
    }
}

fn check_expr(expr: &Expr) -> Verdict {
    let span = expr.span();
    match expr {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::AtTimeZone { .. }
        | Expr::Extract { .. }
        | Expr::Position { .. }
        | Expr::Nested(_)
        | Expr::Case { .. }
        | Expr::Exists { .. }
        | Expr::Subquery(_)
        | Expr::GroupingSets(_)
        | Expr::Cube(_)
        | Expr::Rollup(_)
        | Expr::Lambda(_)
        | Expr::Like { any: false, .. }
        | Expr::Substring { .. }
        | Expr::Trim {
            trim_characters: None,
            ..
        } => Ok(()),
        Expr::CompoundFieldAccess { access_chain, .. } => {
            for access in access_chain {
                match access {
                    AccessExpr::Subscript(Subscript::Index { .. }) => {}
                    AccessExpr::Subscript(Subscript::Slice { .. }) => {
                        return Err(mismatched(span, ":"));
                    }
                    AccessExpr::Dot(_) => {
                        return Err(refused(span, "the embedded engine has no fields of rows"));
                    }
                }
            }
            Ok(())
        }
        Expr::BinaryOp { op, .. } => match op {
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Gt
            | BinaryOperator::Lt
            | BinaryOperator::GtEq
            | BinaryOperator::LtEq
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or => Ok(()),
            other => Err(mismatched(span, &other.to_string())),
        },
        Expr::UnaryOp { op, .. } => match op {
            UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not => Ok(()),
            other => Err(mismatched(span, &other.to_string())),
        },
        Expr::ILike { .. } => Err(mismatched(span, "ILIKE")),
        Expr::SimilarTo { .. } => Err(mismatched(span, "SIMILAR")),
        Expr::RLike { .. } => Err(mismatched(span, "RLIKE")),
        Expr::IsTrue(_) | Expr::IsNotTrue(_) => Err(mismatched(span, "TRUE")),
        Expr::IsFalse(_) | Expr::IsNotFalse(_) => Err(mismatched(span, "FALSE")),
        Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => Err(mismatched(span, "UNKNOWN")),
        Expr::Cast {
            kind,
            format: None,
            array: false,
            ..
        } => match kind {
            CastKind::Cast | CastKind::TryCast => Ok(()),
            CastKind::DoubleColon => Err(mismatched(span, "::")),
            CastKind::SafeCast => Err(mismatched(span, "AS")),
        },
        Expr::Ceil { field, .. } | Expr::Floor { field, .. } => match field {
            CeilFloorKind::DateTimeField(
                datafusion::sql::sqlparser::ast::DateTimeField::NoDateTime,
            ) => Ok(()),
            _ => Err(mismatched(span, "TO")),
        },
        Expr::Value(value) => match &value.value {
            Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::UnicodeStringLiteral(_)
            | Value::HexStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null => Ok(()),
            Value::Placeholder(_) => Err(Trouble::new(
                Code::SyntaxError,
                "Incorrect number of parameters: expected 0 but found placeholders",
            )
            .at(position(span))),
            other => Err(mismatched(span, &other.to_string())),
        },
        Expr::TypedString(typed) if !typed.uses_odbc_syntax => Ok(()),
        Expr::Array(array) if array.named => Ok(()),
        Expr::Interval(interval) => {
            let is_text = matches!(&*interval.value, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
            if !is_text || interval.leading_field.is_none() {
                return Err(mismatched(span, &interval.value.to_string()));
            }
            Ok(())
        }
        Expr::AnyOp { .. } | Expr::AllOp { .. } => Err(refused(
            span,
            "the embedded engine has no quantified comparisons: use IN or a join",
        )),
        Expr::Tuple(_) => Err(refused(span, "the embedded engine has no rows as values")),
        Expr::Function(function) => check_function(function, span),
        other => Err(mismatched(span, &first_word(&other.to_string()))),
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A function's name, in lower case.
pub(super) fn function_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => part
            .as_ident()
            .map(|ident| ident.value.to_ascii_lowercase()),
        _ => None,
    }
}

fn check_function(function: &Function, span: Span) -> Verdict {
    let Some(name) = function_name(function) else {
        return Err(Trouble::new(
            Code::FunctionNotFound,
            format!("Function '{}' not registered", function.name),
        )
        .at(position(span)));
    };
    let name = name.as_str();
    let is_aggregate = AGGREGATES.contains(&name);
    let is_window = WINDOW.contains(&name);
    if !is_aggregate && !is_window && !OTHER_SCALARS.contains(&name) && !functions::is_scalar(name)
    {
        if ELSEWHERE.contains(&name) {
            return Err(refused(
                span,
                format!("the embedded engine has no function '{name}'; Athena has"),
            ));
        }
        return Err(Trouble::new(
            Code::FunctionNotFound,
            format!("Function '{name}' not registered"),
        )
        .at(position(span)));
    }
    if function.uses_odbc_syntax || !matches!(function.parameters, FunctionArguments::None) {
        return Err(mismatched(span, "{"));
    }
    if is_window && function.over.is_none() {
        return Err(Trouble::new(
            Code::MissingOver,
            format!("Window function {name} requires an OVER clause"),
        )
        .at(position(span)));
    }
    if !is_window && !is_aggregate && function.over.is_some() {
        return Err(Trouble::new(
            Code::SyntaxError,
            format!("'{name}' is not a window function"),
        )
        .at(position(span)));
    }
    if function.filter.is_some() && !is_aggregate {
        return Err(Trouble::new(
            Code::FunctionNotFound,
            format!("Filter is only valid for aggregation functions: {name}"),
        )
        .at(position(span)));
    }
    if name == "listagg" && function.within_group.is_empty() {
        return Err(mismatched(span, "listagg without WITHIN GROUP"));
    }
    if name != "listagg" && !function.within_group.is_empty() {
        return Err(mismatched(span, "WITHIN"));
    }
    let FunctionArguments::List(list) = &function.args else {
        return match &function.args {
            FunctionArguments::None if name.starts_with("current_") || name == "localtimestamp" => {
                Ok(())
            }
            _ => Err(mismatched(span, name)),
        };
    };
    if CLOCKS.contains(&name) {
        return Err(mismatched(span, "("));
    }
    let too_many = match name {
        "count" => list.args.len() > 1,
        "from_unixtime" | "random" | "rand" => {
            if list.args.len() > usize::from(name == "from_unixtime") {
                return Err(refused(
                    span,
                    format!(
                        "the embedded engine has another form of {name}() only; Athena has this one too"
                    ),
                ));
            }
            false
        }
        _ => false,
    };
    if too_many {
        return Err(Trouble::new(
            Code::FunctionNotFound,
            format!("Unexpected parameters for function {name}"),
        )
        .at(position(span)));
    }
    if ["lag", "lead"].contains(&name)
        && let Some(WindowType::WindowSpec(window)) = &function.over
    {
        if window.window_frame.is_some() {
            return Err(Trouble::new(
                Code::InvalidWindowFrame,
                format!("Cannot specify window frame for {name} function"),
            )
            .at(position(span)));
        }
        if window.order_by.is_empty() && window.window_name.is_none() {
            return Err(Trouble::new(
                Code::MissingOrderBy,
                format!("{name} function requires an ORDER BY window clause"),
            )
            .at(position(span)));
        }
    }
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) && !is_aggregate {
        return Err(mismatched(span, "DISTINCT"));
    }
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(_) if name == "array_agg" => {}
            FunctionArgumentClause::OrderBy(_) if is_aggregate => {
                return Err(refused(
                    span,
                    format!("the embedded engine has no ORDER BY in {name}()"),
                ));
            }
            FunctionArgumentClause::OnOverflow(_) if name == "listagg" => {
                return Err(refused(
                    span,
                    "the embedded engine has no ON OVERFLOW in listagg()",
                ));
            }
            other => return Err(mismatched(span, &first_word(&other.to_string()))),
        }
    }
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(_)) => {}
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" => {}
            _ => return Err(mismatched(span, "*")),
        }
    }
    Ok(())
}

/// Where a name stands in a statement first.
pub(super) fn find(query: &Query, name: &str) -> Option<Position> {
    struct Find<'n> {
        name: &'n str,
    }
    impl Find<'_> {
        fn is_it(&self, ident: &Ident) -> bool {
            ident.value.eq_ignore_ascii_case(self.name)
        }
    }
    impl Visitor for Find<'_> {
        type Break = Option<Position>;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Option<Position>> {
            match expr {
                Expr::Identifier(ident) if self.is_it(ident) => {
                    ControlFlow::Break(position(ident.span))
                }
                Expr::CompoundIdentifier(parts)
                    if parts.last().is_some_and(|last| self.is_it(last)) =>
                {
                    ControlFlow::Break(parts.first().and_then(|first| position(first.span)))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Find { name }) {
        ControlFlow::Break(found) => found,
        ControlFlow::Continue(()) => None,
    }
}
