//! Which clusters and hours a statement's filters leave: what has to be listed, and nothing else.
//!
//! Filters are narrowed down to a set of hours and a set of clusters that hold every row which can pass. The set may be larger
//! than what passes, never smaller. `ts` and `ts_ns` count too, since `dh` is the hour of `ts_ns` for every row.

use std::collections::BTreeSet;
use std::ops::Range;

use archive::Hour;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// The partition column of the cluster.
pub(super) const CLUSTER: &str = "cluster";

/// The partition column of the hour.
pub(super) const DH: &str = "dh";

/// Nanoseconds of an hour.
const HOUR_NS: i64 = 3_600_000_000_000;

/// Hours by their number since 1970, as ranges in order that neither meet nor overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hours(Vec<Range<i64>>);

impl Hours {
    /// All there are.
    pub(super) fn all() -> Self {
        Self::between(Hour::MIN.number(), Hour::MAX.number() + 1)
    }

    /// None.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    fn between(start: i64, end: i64) -> Self {
        let start = start.max(Hour::MIN.number());
        let end = end.min(Hour::MAX.number() + 1);
        let is_some = start < end;
        Self(is_some.then_some(start..end).into_iter().collect())
    }

    /// The ranges.
    pub(super) fn ranges(&self) -> &[Range<i64>] {
        &self.0
    }

    fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (start, end) = (a.start.max(b.start), a.end.min(b.end));
            if start < end {
                both.push(start..end);
            }
            if a.end < b.end {
                left.next();
            } else {
                right.next();
            }
        }
        Self(both)
    }

    fn or(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&other.0).cloned().collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<i64>> = Vec::with_capacity(all.len());
        for range in all {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }
}

/// Clusters by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clusters {
    /// All there are.
    All,
    /// These, if they are there.
    These(BTreeSet<String>),
}

/// What the filters leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of these clusters.
    pub(super) clusters: Clusters,
    /// In these hours.
    pub(super) hours: Hours,
}

impl Wanted {
    fn all() -> Self {
        Self {
            clusters: Clusters::All,
            hours: Hours::all(),
        }
    }

    fn none() -> Self {
        Self {
            clusters: Clusters::These(BTreeSet::new()),
            hours: Hours::none(),
        }
    }

    fn hours(hours: Hours) -> Self {
        Self {
            clusters: Clusters::All,
            hours,
        }
    }

    fn clusters<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            clusters: Clusters::These(names.into_iter().map(str::to_owned).collect()),
            hours: Hours::all(),
        }
    }

    fn and(self, other: &Self) -> Self {
        let clusters = match (self.clusters, &other.clusters) {
            (Clusters::All, _) => other.clusters.clone(),
            (mine, Clusters::All) => mine,
            (Clusters::These(mine), Clusters::These(theirs)) => {
                Clusters::These(mine.intersection(theirs).cloned().collect())
            }
        };
        Self {
            clusters,
            hours: self.hours.and(&other.hours),
        }
    }

    fn or(self, other: Self) -> Self {
        let clusters = match (self.clusters, other.clusters) {
            (Clusters::These(mut mine), Clusters::These(theirs)) => {
                mine.extend(theirs);
                Clusters::These(mine)
            }
            _ => Clusters::All,
        };
        Self {
            clusters,
            hours: self.hours.or(&other.hours),
        }
    }

    /// Narrowed down by filters that all have to hold.
    pub(super) fn by(filters: &[Expr]) -> Self {
        filters
            .iter()
            .fold(Self::all(), |wanted, filter| wanted.and(&of(filter)))
    }
}

/// What can pass a filter.
fn of(filter: &Expr) -> Wanted {
    match filter {
        Expr::Alias(alias) => of(&alias.expr),
        Expr::Literal(ScalarValue::Boolean(Some(false) | None) | ScalarValue::Null, _) => {
            Wanted::none()
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => of(left).and(&of(right)),
            Operator::Or => of(left).or(of(right)),
            _ => compared(left, *op, right),
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => compared(expr, Operator::GtEq, low).and(&compared(expr, Operator::LtEq, high)),
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => list
            .iter()
            .map(|one| compared(expr, Operator::Eq, one))
            .reduce(Wanted::or)
            .unwrap_or_else(Wanted::all),
        Expr::Like(Like {
            negated: false,
            expr,
            pattern,
            escape_char: None,
            case_insensitive: false,
        }) => like(expr, pattern),
        _ => Wanted::all(),
    }
}

/// What can pass a comparison.
fn compared(left: &Expr, op: Operator, right: &Expr) -> Wanted {
    if let (Some(column), Some(value)) = (column(left), literal(right)) {
        return against(column, op, value);
    }
    if let (Some(column), Some(value), Some(op)) = (column(right), literal(left), op.swap()) {
        return against(column, op, value);
    }
    Wanted::all()
}

fn against(column: &str, op: Operator, value: &ScalarValue) -> Wanted {
    match column {
        CLUSTER if op == Operator::Eq => match text(value) {
            Some(name) => Wanted::clusters([name]),
            None => Wanted::all(),
        },
        DH => match text(value) {
            Some(text) => Wanted::hours(hours_by_text(op, text)),
            None => Wanted::all(),
        },
        "ts_ns" | "ts" => match time_ns(column, value) {
            Some(range) => Wanted::hours(hours_by_time(op, &range)),
            None => Wanted::all(),
        },
        _ => Wanted::all(),
    }
}

/// The hours whose text compares so. Texts of hours are in the order of the hours.
fn hours_by_text(op: Operator, text: &str) -> Hours {
    let (first, end) = (Hour::MIN.number(), Hour::MAX.number() + 1);
    // The first hour whose text is at or behind the given one, and the first that is behind it.
    let at = first_where(|hour| hour.as_str() >= text);
    let behind = first_where(|hour| hour.as_str() > text);
    match op {
        Operator::Eq => Hours::between(at, behind),
        Operator::Lt => Hours::between(first, at),
        Operator::LtEq => Hours::between(first, behind),
        Operator::Gt => Hours::between(behind, end),
        Operator::GtEq => Hours::between(at, end),
        _ => Hours::all(),
    }
}

/// The first hour whose text has a property that all hours behind it have too.
fn first_where(holds: impl Fn(&String) -> bool) -> i64 {
    let (mut low, mut high) = (Hour::MIN.number(), Hour::MAX.number() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(&Hour::from_number(middle).to_string()) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The hours of the times that compare so with a time which is somewhere in a range of ns, both ends included.
fn hours_by_time(op: Operator, ns: &Range<i128>) -> Hours {
    let hour = |ns: i128| ns.div_euclid(i128::from(HOUR_NS)) as i64;
    let (first, end) = (Hour::MIN.number(), Hour::MAX.number() + 1);
    match op {
        Operator::Eq => Hours::between(hour(ns.start), hour(ns.end) + 1),
        Operator::Lt | Operator::LtEq => Hours::between(first, hour(ns.end) + 1),
        Operator::Gt | Operator::GtEq => Hours::between(hour(ns.start), end),
        _ => Hours::all(),
    }
}

/// What begins as a pattern does.
fn like(expr: &Expr, pattern: &Expr) -> Wanted {
    let (Some(DH), Some(pattern)) = (column(expr), literal(pattern).and_then(text)) else {
        return Wanted::all();
    };
    let end = pattern.find(['%', '_']).unwrap_or(pattern.len());
    let prefix = &pattern[..end];
    let at = first_where(|hour| hour.as_str() >= prefix);
    let behind = first_where(|hour| hour.as_str() > prefix && !hour.starts_with(prefix));
    Wanted::hours(Hours::between(at, behind))
}

/// The column, also behind a change of its type that keeps values and order.
fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) => {
            let name = column(&cast.expr)?;
            let to = cast.field.data_type();
            let keeps = match name {
                CLUSTER | DH => to.is_string(),
                "ts_ns" => to.is_signed_integer(),
                "ts" => matches!(to, datafusion::arrow::datatypes::DataType::Timestamp(..)),
                _ => false,
            };
            keeps.then_some(name)
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// The ns that a value can stand for, both ends included: a time in milliseconds stands for all of them.
fn time_ns(column: &str, value: &ScalarValue) -> Option<Range<i128>> {
    if column == "ts_ns" {
        let ns = match value {
            ScalarValue::Int64(Some(ns)) => *ns,
            ScalarValue::Int32(Some(ns)) => i64::from(*ns),
            _ => return None,
        };
        return Some(i128::from(ns)..i128::from(ns));
    }
    let (number, unit) = match value {
        ScalarValue::TimestampSecond(Some(number), _) => (*number, 1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(number), _) => (*number, 1_000_000),
        ScalarValue::TimestampMicrosecond(Some(number), _) => (*number, 1000),
        ScalarValue::TimestampNanosecond(Some(number), _) => (*number, 1),
        _ => return None,
    };
    let ns = i128::from(number) * i128::from(unit);
    // `ts` is floored to a millisecond, so the row's own time can be up to one behind it.
    Some(ns..ns + 1_000_000)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn hours(filter: Expr) -> Vec<(String, String)> {
        let wanted = Wanted::by(&[filter]);
        let text = |number: i64| Hour::from_number(number).to_string();
        let ranges = wanted.hours.ranges().iter();
        ranges
            .map(|range| (text(range.start), text(range.end - 1)))
            .collect()
    }

    fn check(filter: &Expr, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(start, last)| ((*start).to_owned(), (*last).to_owned()))
            .collect();
        assert_eq!(hours(filter.clone()), expected, "{filter}");
    }

    #[test]
    fn hours_that_filters_leave() {
        let dh = || col("dh");
        let one = "2026-11-01-09";
        check(&dh().eq(lit(one)), &[(one, one)]);
        check(&lit(one).eq(dh()), &[(one, one)]);
        check(
            &dh().between(lit("2026-11-01-09"), lit("2026-11-02-01")),
            &[("2026-11-01-09", "2026-11-02-01")],
        );
        check(
            &dh()
                .gt(lit("2026-11-01-09"))
                .and(dh().lt(lit("2026-11-01-12"))),
            &[("2026-11-01-10", "2026-11-01-11")],
        );
        check(
            &dh().in_list(
                vec![lit("2026-11-01-09"), lit("2026-11-01-12"), lit("nonsense")],
                false,
            ),
            &[
                ("2026-11-01-09", "2026-11-01-09"),
                ("2026-11-01-12", "2026-11-01-12"),
            ],
        );
        // A text that is no hour compares as a text.
        check(
            &dh()
                .gt_eq(lit("2026-11-01"))
                .and(dh().lt(lit("2026-11-02"))),
            &[("2026-11-01-00", "2026-11-01-23")],
        );
        check(
            &dh().like(lit("2026-11-0%")),
            &[("2026-11-01-00", "2026-11-09-23")],
        );
        check(
            &dh().eq(lit(one)).or(dh().eq(lit("2026-11-01-10"))),
            &[("2026-11-01-09", "2026-11-01-10")],
        );
        check(&dh().eq(lit(one)).and(dh().eq(lit("2026-11-01-10"))), &[]);
        check(&lit(false), &[]);
    }

    #[test]
    fn times_are_hours_too() {
        let start = 1_793_523_600_000_000_000_i64;
        let first = Hour::of_ns(start).to_string();
        check(
            &col("ts_ns")
                .gt_eq(lit(start))
                .and(col("ts_ns").lt(lit(start + HOUR_NS))),
            &[(first.as_str(), &Hour::of_ns(start + HOUR_NS).to_string())],
        );
        let ts = ScalarValue::TimestampMillisecond(Some(start / 1_000_000), None);
        check(&col("ts").eq(lit(ts)), &[(first.as_str(), first.as_str())]);
    }

    #[test]
    fn what_is_not_understood_leaves_all() {
        for filter in [
            col("job").eq(lit("x")),
            col("dh").not_eq(lit("2026-11-01-09")),
            col("dh")
                .eq(lit("2026-11-01-09"))
                .or(col("job").eq(lit("x"))),
            col("dh").eq(col("job")),
        ] {
            assert_eq!(
                Wanted::by(std::slice::from_ref(&filter)),
                Wanted::all(),
                "{filter}"
            );
        }
    }

    #[test]
    fn clusters_that_filters_leave() {
        let these = |names: &[&str]| Wanted::clusters(names.iter().copied()).clusters;
        let by = |filter: Expr| Wanted::by(&[filter]).clusters;
        assert_eq!(by(col("cluster").eq(lit("aa"))), these(&["aa"]));
        let both = col("cluster").in_list(vec![lit("aa"), lit("bb")], false);
        assert_eq!(by(both.clone()), these(&["aa", "bb"]));
        assert_eq!(by(both.and(col("cluster").eq(lit("bb")))), these(&["bb"]));
        assert_eq!(by(col("cluster").gt(lit("aa"))), Clusters::All);
    }
}
