//! Why a statement gave no answer, or not all of it.
//!
//! [`Trouble`] is what Trino would say; it travels through the SQL engine as an error of its own kind. [`RunError`] is what the caller
//! gets, whatever it was.

use std::error::Error;
use std::fmt;

use archive::StoreError;
use archive::listing::ListError;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::parquet::errors::ParquetError;

/// A place in a statement, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character of the line.
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}:{}", self.line, self.column)
    }
}

/// The kinds of trouble that a statement can meet, by Trino's names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// It is no SQL.
    SyntaxError,
    /// It is SQL that the embedded engine has no true answer to.
    NotSupported,
    /// There is no such column.
    ColumnNotFound,
    /// There is more than one such column.
    AmbiguousName,
    /// There is no such table.
    TableNotFound,
    /// There is no such database.
    SchemaNotFound,
    /// There is no such catalogue.
    CatalogNotFound,
    /// There is no such function.
    FunctionNotFound,
    /// A window function without its window.
    MissingOver,
    /// An aggregate of an aggregate.
    NestedAggregation,
    /// An aggregate or a window function where rows are still looked at one by one.
    ExpressionNotScalar,
    /// An order by what `DISTINCT` has dropped.
    ExpressionNotInDistinct,
    /// The number of a column that there is not.
    InvalidColumnReference,
    /// More or fewer names than columns.
    MismatchedColumnAliases,
    /// Two queries of one name in a `WITH`.
    DuplicateNamedQuery,
    /// A window function without the order that it needs.
    MissingOrderBy,
    /// A window's frame where there can be none.
    InvalidWindowFrame,
    /// The types do not go together.
    TypeMismatch,
    /// A column that is neither grouped nor aggregated.
    ExpressionNotAggregate,
    /// An argument that the function does not take.
    InvalidFunctionArgument,
    /// A literal of a time that there is not.
    InvalidLiteral,
    /// A value that the type cannot hold.
    InvalidCastArgument,
    /// A number that is too large.
    NumericValueOutOfRange,
    /// A division by zero.
    DivisionByZero,
    /// A subquery that was to give one row gave more.
    SubqueryMultipleRows,
}

impl Code {
    /// All of them.
    const ALL: [Self; 25] = [
        Self::SyntaxError,
        Self::NotSupported,
        Self::ColumnNotFound,
        Self::AmbiguousName,
        Self::TableNotFound,
        Self::SchemaNotFound,
        Self::CatalogNotFound,
        Self::FunctionNotFound,
        Self::MissingOver,
        Self::NestedAggregation,
        Self::ExpressionNotScalar,
        Self::ExpressionNotInDistinct,
        Self::InvalidColumnReference,
        Self::MismatchedColumnAliases,
        Self::DuplicateNamedQuery,
        Self::MissingOrderBy,
        Self::InvalidWindowFrame,
        Self::TypeMismatch,
        Self::ExpressionNotAggregate,
        Self::InvalidFunctionArgument,
        Self::InvalidLiteral,
        Self::InvalidCastArgument,
        Self::NumericValueOutOfRange,
        Self::DivisionByZero,
        Self::SubqueryMultipleRows,
    ];

    /// Trino's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::ColumnNotFound => "COLUMN_NOT_FOUND",
            Self::AmbiguousName => "AMBIGUOUS_NAME",
            Self::TableNotFound => "TABLE_NOT_FOUND",
            Self::SchemaNotFound => "SCHEMA_NOT_FOUND",
            Self::CatalogNotFound => "CATALOG_NOT_FOUND",
            Self::FunctionNotFound => "FUNCTION_NOT_FOUND",
            Self::MissingOver => "MISSING_OVER",
            Self::NestedAggregation => "NESTED_AGGREGATION",
            Self::ExpressionNotScalar => "EXPRESSION_NOT_SCALAR",
            Self::ExpressionNotInDistinct => "EXPRESSION_NOT_IN_DISTINCT",
            Self::InvalidColumnReference => "INVALID_COLUMN_REFERENCE",
            Self::MismatchedColumnAliases => "MISMATCHED_COLUMN_ALIASES",
            Self::DuplicateNamedQuery => "DUPLICATE_NAMED_QUERY",
            Self::MissingOrderBy => "MISSING_ORDER_BY",
            Self::InvalidWindowFrame => "INVALID_WINDOW_FRAME",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::ExpressionNotAggregate => "EXPRESSION_NOT_AGGREGATE",
            Self::InvalidFunctionArgument => "INVALID_FUNCTION_ARGUMENT",
            Self::InvalidLiteral => "INVALID_LITERAL",
            Self::InvalidCastArgument => "INVALID_CAST_ARGUMENT",
            Self::NumericValueOutOfRange => "NUMERIC_VALUE_OUT_OF_RANGE",
            Self::DivisionByZero => "DIVISION_BY_ZERO",
            Self::SubqueryMultipleRows => "SUBQUERY_MULTIPLE_ROWS",
        }
    }
}

/// Trouble with a statement, or with the values that it met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its kind.
    pub code: Code,
    /// Where in the statement, if it is known.
    pub position: Option<Position>,
    /// What is the matter, as Trino says it.
    pub message: String,
}

impl Trouble {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            position: None,
            message: message.into(),
        }
    }

    pub(super) fn at(mut self, position: Option<Position>) -> Self {
        self.position = self.position.or(position);
        self
    }

    /// As the SQL engine passes it on.
    pub(super) fn raise<T>(self) -> Result<T, DataFusionError> {
        Err(self.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code.name())?;
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Error for Trouble {}

impl From<Trouble> for DataFusionError {
    fn from(trouble: Trouble) -> Self {
        Self::External(Box::new(trouble))
    }
}

/// Trouble with an argument of a function.
pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, DataFusionError> {
    Trouble::new(Code::InvalidFunctionArgument, message).raise()
}

/// Why a statement gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The statement is refused, or met values that it cannot be answered with. Athena would fail too, and say as much.
    #[error(transparent)]
    Statement(#[from] Trouble),
    /// The archive cannot be listed.
    #[error("list the archive")]
    List(#[source] ListError),
    /// An object cannot be read.
    #[error("read the archive's {}", .0.key)]
    Store(#[source] StoreError),
    /// A Parquet object is damaged.
    #[error("read a parquet object of the archive: {0}; `shipper validate` names it")]
    Damaged(String),
    /// The statement needs more memory than it may have, and cannot spill.
    #[error(
        "the statement needs more than its {limit_bytes} bytes of memory: raise the limit, narrow the time range, or select fewer columns ({message})"
    )]
    Memory {
        /// The limit.
        limit_bytes: usize,
        /// What asked for more.
        message: String,
    },
    /// There is no room, or no folder, for what does not fit in memory.
    #[error("spill to disk")]
    Spill(#[source] std::io::Error),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// Nobody takes its answer any more.
    #[error("nobody takes the answer")]
    Unheard,
    /// Something that ought not to happen.
    #[error("the embedded engine failed: {0}")]
    Engine(String),
}

impl RunError {
    /// What an error of the SQL engine means.
    pub(super) fn of(error: &DataFusionError, limit_bytes: usize) -> Self {
        if let Some(trouble) = source::<Trouble>(error) {
            return Self::Statement(trouble.clone());
        }
        if let Some(error) = source::<StoreError>(error) {
            return Self::Store(error.clone());
        }
        if let Some(error) = source::<ListError>(error) {
            return match error {
                ListError::Store(error) => Self::Store(error.clone()),
                ListError::Key(error) => Self::List(ListError::Key(error.clone())),
                ListError::TooMany { prefix, max } => Self::List(ListError::TooMany {
                    prefix: prefix.clone(),
                    max: *max,
                }),
            };
        }
        if let Some(error) = source::<ParquetError>(error) {
            return Self::Damaged(error.to_string());
        }
        if let Some(error) = source::<std::io::Error>(error) {
            return Self::Spill(std::io::Error::new(error.kind(), error.to_string()));
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(message) => Self::Memory {
                limit_bytes,
                message: first_line(message),
            },
            DataFusionError::SchemaError(error, _) => Self::Statement(schema_trouble(error)),
            DataFusionError::Plan(message) => plan_trouble(message),
            DataFusionError::NotImplemented(message)
                if message.contains("logical expression AggregateFunction")
                    || message.contains("logical expression WindowFunction") =>
            {
                Self::Statement(Trouble::new(
                    Code::ExpressionNotScalar,
                    "GROUP BY and WHERE clauses cannot contain aggregations and window functions",
                ))
            }
            DataFusionError::NotImplemented(message) => {
                Self::Statement(Trouble::new(Code::NotSupported, first_line(message)))
            }
            DataFusionError::Execution(message) => Self::execution(message),
            other if other.to_string().contains("returned more than one row") => {
                Self::Statement(Trouble::new(
                    Code::SubqueryMultipleRows,
                    "Scalar sub-query has returned multiple rows",
                ))
            }
            other => match source::<ArrowError>(error) {
                Some(error) => Self::arrow(error),
                None => Self::Engine(first_line(&other.to_string())),
            },
        }
    }

    fn arrow(error: &ArrowError) -> Self {
        let (code, message) = match error {
            ArrowError::DivideByZero => (Code::DivisionByZero, "Division by zero".to_owned()),
            ArrowError::ArithmeticOverflow(message) => {
                (Code::NumericValueOutOfRange, message.clone())
            }
            ArrowError::CastError(message) | ArrowError::ParseError(message) => {
                (Code::InvalidCastArgument, message.clone())
            }
            ArrowError::ParquetError(message) => return Self::Damaged(message.clone()),
            other => return Self::Engine(first_line(&other.to_string())),
        };
        Self::Statement(Trouble::new(code, message))
    }

    fn execution(message: &str) -> Self {
        if message.contains("more than one row") {
            return Self::Statement(Trouble::new(
                Code::SubqueryMultipleRows,
                "Scalar sub-query has returned multiple rows",
            ));
        }
        if message.contains("Cannot access field") {
            return Self::Statement(Trouble::new(
                Code::TypeMismatch,
                "the expression before the dot is not of type ROW",
            ));
        }
        Self::Engine(first_line(message))
    }
}

/// The error of a kind that an error comes from.
fn source<E: Error + 'static>(error: &DataFusionError) -> Option<&E> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(arrow) = error.downcast_ref::<ArrowError>()
            && let ArrowError::ExternalError(inner) = arrow
            && let Some(found) = inner.downcast_ref::<DataFusionError>()
        {
            next = Some(found);
            continue;
        }
        next = error.source();
    }
    None
}

fn schema_trouble(error: &SchemaError) -> Trouble {
    match error {
        SchemaError::AmbiguousReference { field } => Trouble::new(
            Code::AmbiguousName,
            format!("Column '{}' is ambiguous", field.name),
        ),
        SchemaError::FieldNotFound { field, .. } => {
            let name = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => field.name.clone(),
            };
            Trouble::new(
                Code::ColumnNotFound,
                format!("Column '{name}' cannot be resolved"),
            )
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => Trouble::new(
            Code::AmbiguousName,
            format!("Column name '{name}' specified more than once"),
        ),
    }
}

/// What the planner says, in Trino's words.
fn plan_trouble(message: &str) -> RunError {
    let text = first_line(message);
    // The planner passes on what a function says of its arguments, but as text.
    for code in Code::ALL {
        if let Some((_, said)) = text.split_once(&format!("{}: ", code.name())) {
            // What the planner thinks of it is in its own words.
            let said = said.split(". No function matches").next().unwrap_or(said);
            return RunError::Statement(Trouble::new(code, said));
        }
    }
    let quoted = |text: &str, mark: char| text.split(mark).nth(1).map(str::to_owned);
    let trouble = if text.contains("must be in GROUP BY")
        || text.contains("must appear in the GROUP BY")
    {
        let name = text
            .split_once("column ")
            .and_then(|(_, rest)| quoted(rest, '"'));
        let name = name.unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or_default();
        Trouble::new(
            Code::ExpressionNotAggregate,
            format!("'{name}' must be an aggregate expression or appear in GROUP BY clause"),
        )
    } else if text.contains("not found") && text.contains("table ") {
        let name = quoted(&text, '\'').unwrap_or_default();
        Trouble::new(
            Code::TableNotFound,
            format!("Table '{name}' does not exist"),
        )
    } else if text.contains("non-boolean predicate") {
        Trouble::new(
            Code::TypeMismatch,
            "WHERE clause must evaluate to a boolean",
        )
    } else if text.contains("failed to match any signature") || text.contains("No function matches")
    {
        let name = quoted(&text, '\'').unwrap_or_default();
        let name = name.split('(').next().unwrap_or_default();
        Trouble::new(
            Code::FunctionNotFound,
            format!("Unexpected parameters for function {name}"),
        )
    } else if let Some((code, said)) = meaning(&text) {
        Trouble::new(code, said)
    } else if text.contains("oerc") {
        Trouble::new(Code::TypeMismatch, text)
    } else {
        Trouble::new(Code::SyntaxError, text)
    };
    RunError::Statement(trouble)
}

/// What of the planner's own words has a name in Trino, and how Trino says it.
fn meaning(text: &str) -> Option<(Code, &'static str)> {
    let known: [(&str, Code, &'static str); 13] = [
        (
            "not allowed in the WHERE clause",
            Code::ExpressionNotScalar,
            "WHERE clause cannot contain aggregations, window functions or grouping operations",
        ),
        (
            "calls cannot be nested",
            Code::NestedAggregation,
            "Cannot nest aggregations inside aggregation",
        ),
        (
            "Order by column out of bounds",
            Code::InvalidColumnReference,
            "ORDER BY position is not in select list",
        ),
        (
            "Cannot find column with position",
            Code::InvalidColumnReference,
            "GROUP BY position is not in select list",
        ),
        (
            "For SELECT DISTINCT, ORDER BY",
            Code::ExpressionNotInDistinct,
            "For SELECT DISTINCT, ORDER BY expressions must appear in select list",
        ),
        (
            "different number of columns",
            Code::TypeMismatch,
            "set operation queries have different number of fields",
        ),
        (
            "should only return one column",
            Code::NotSupported,
            "the embedded engine has no rows as values: let the subquery return one column",
        ),
        (
            "names given as column alias",
            Code::MismatchedColumnAliases,
            "Column alias list and relation have different numbers of columns",
        ),
        (
            "specified more than once",
            Code::DuplicateNamedQuery,
            "WITH query name specified more than once",
        ),
        (
            "data length across values list",
            Code::TypeMismatch,
            "Values rows have mismatched types",
        ),
        (
            "Unary operator",
            Code::TypeMismatch,
            "the operand of NOT must be a boolean, that of - a number or an interval",
        ),
        (
            "for logical boolean operation",
            Code::TypeMismatch,
            "Logical expression term must evaluate to a boolean",
        ),
        (
            "Cannot access field",
            Code::TypeMismatch,
            "the expression before the dot is not of type ROW",
        ),
    ];
    known
        .into_iter()
        .find(|(words, ..)| text.contains(words))
        .map(|(_, code, said)| (code, said))
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
