//! Which names a `GROUP BY` and a `HAVING` may use: the columns of what is read, never those that are being made. The engine takes both.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor, Visit, Visitor,
};

use super::dialect::position;
use super::error::{Code, Trouble};

/// The names of columns in lower case; none where they cannot be told from the text.
type Names = Option<Vec<String>>;

/// Checks a statement. `table` are the columns of the archive's table.
pub(super) fn check(query: &Query, table: &[&str]) -> Result<(), Trouble> {
    let table = table.iter().map(|name| (*name).to_owned()).collect();
    Scope {
        table,
        ctes: HashMap::new(),
    }
    .query(query)
    .map(|_| ())
}

#[derive(Clone)]
struct Scope {
    table: Vec<String>,
    ctes: HashMap<String, Names>,
}

impl Scope {
    /// The names of a query's columns.
    fn query(&self, query: &Query) -> Result<Names, Trouble> {
        let mut scope = self.clone();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let mut names = scope.query(&cte.query)?;
            if !cte.alias.columns.is_empty() {
                let columns = cte.alias.columns.iter();
                names = Some(
                    columns
                        .map(|column| column.name.value.to_ascii_lowercase())
                        .collect(),
                );
            }
            scope
                .ctes
                .insert(cte.alias.name.value.to_ascii_lowercase(), names);
        }
        scope.set(&query.body)
    }

    fn set(&self, set: &SetExpr) -> Result<Names, Trouble> {
        match set {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.set(right)?;
                self.set(left)
            }
            _ => Ok(None),
        }
    }

    fn select(&self, select: &Select) -> Result<Names, Trouble> {
        let mut read: Names = Some(vec![]);
        // Names that a subquery gives to two of its columns: the engine would take the first one.
        let mut twice = vec![];
        for table in &select.from {
            for factor in std::iter::once(&table.relation)
                .chain(table.joins.iter().map(|join| &join.relation))
            {
                let names = self.factor(factor)?;
                for (place, name) in names.iter().flatten().enumerate() {
                    if names
                        .iter()
                        .flatten()
                        .take(place)
                        .any(|other| other == name)
                    {
                        twice.push(name.clone());
                    }
                }
                read = read.zip(names).map(|(mut all, names)| {
                    all.extend(names);
                    all
                });
            }
        }
        if !twice.is_empty() {
            check_twice(select, &twice)?;
        }
        if let Some(read) = &read {
            check_select(select, read)?;
        }
        let mut names = Some(vec![]);
        for item in &select.projection {
            let more: Names = match item {
                SelectItem::ExprWithAlias { alias, .. } => {
                    Some(vec![alias.value.to_ascii_lowercase()])
                }
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => {
                    Some(vec![ident.value.to_ascii_lowercase()])
                }
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts
                    .last()
                    .map(|last| vec![last.value.to_ascii_lowercase()]),
                SelectItem::UnnamedExpr(_) => Some(vec![]),
                SelectItem::Wildcard(_) => read.clone(),
                _ => None,
            };
            names = names.zip(more).map(|(mut all, more)| {
                all.extend(more);
                all
            });
        }
        Ok(names)
    }

    fn factor(&self, factor: &TableFactor) -> Result<Names, Trouble> {
        let (names, alias) = match factor {
            TableFactor::UNNEST { alias, .. }
            | TableFactor::Table {
                args: Some(_),
                alias,
                ..
            } => (None, alias),
            TableFactor::Table { name, alias, .. } => (self.table(name), alias),
            TableFactor::Derived {
                subquery, alias, ..
            } => (self.query(subquery)?, alias),
            _ => return Ok(None),
        };
        Ok(match alias {
            Some(alias) if !alias.columns.is_empty() => {
                let columns = alias.columns.iter();
                Some(
                    columns
                        .map(|column| column.name.value.to_ascii_lowercase())
                        .collect(),
                )
            }
            _ => names,
        })
    }

    fn table(&self, name: &ObjectName) -> Names {
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(|ident| ident.value.to_ascii_lowercase())
            .collect();
        match parts.as_slice() {
            [one] if self.ctes.contains_key(one) => self.ctes.get(one).cloned().flatten(),
            _ => Some(self.table.clone()),
        }
    }
}

fn check_select(select: &Select, read: &[String]) -> Result<(), Trouble> {
    let made: Vec<String> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.to_ascii_lowercase()),
            _ => None,
        })
        .filter(|name| !read.contains(name))
        .collect();
    let mut find = Find {
        names: &made,
        trouble: |name| {
            let message = format!("Column '{name}' cannot be resolved");
            Trouble::new(Code::ColumnNotFound, message)
        },
    };
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(all, _) => all.as_slice(),
        GroupByExpr::All(_) => &[],
    };
    for expr in grouped.iter().chain(&select.having) {
        if let ControlFlow::Break(trouble) = expr.visit(&mut find) {
            return Err(trouble);
        }
    }
    Ok(())
}

fn check_twice(select: &Select, twice: &[String]) -> Result<(), Trouble> {
    let mut find = Find {
        names: twice,
        trouble: |name| {
            let message = format!("Column '{name}' is ambiguous");
            Trouble::new(Code::AmbiguousName, message)
        },
    };
    let visited = [
        select.projection.visit(&mut find),
        select.selection.visit(&mut find),
        select.group_by.visit(&mut find),
        select.having.visit(&mut find),
    ];
    match visited.into_iter().find_map(ControlFlow::break_value) {
        Some(trouble) => Err(trouble),
        None => Ok(()),
    }
}

/// Looks for names that may not be used.
struct Find<'m> {
    names: &'m [String],
    trouble: fn(&str) -> Trouble,
}

impl Visitor for Find<'_> {
    type Break = Trouble;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Trouble> {
        if let Expr::Identifier(ident) = expr
            && self.names.contains(&ident.value.to_ascii_lowercase())
        {
            let trouble = (self.trouble)(&ident.value);
            return ControlFlow::Break(trouble.at(position(ident.span)));
        }
        ControlFlow::Continue(())
    }
}
