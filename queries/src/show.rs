//! The catalogue for people and for programs: `queries ls`, `queries show`.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::catalogue::Catalogue;
use crate::output::{Options, Output};
use crate::query::{Origin, Query};
use crate::rows::{Column, Kind};

/// The queries as a table.
pub fn list(
    catalogue: &Catalogue,
    options: Options,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let column = |name: &str| Column {
        name: name.to_owned(),
        kind: Kind::Varchar,
    };
    let mut output = Output::new(out, options);
    output.columns(&[column("query"), column("answers")])?;
    let rows = catalogue
        .queries()
        .map(|query| vec![Some(query.name.clone()), Some(query.answers.clone())])
        .collect();
    output.rows(rows)?;
    output.finish()?;
    Ok(())
}

/// The queries as JSON, one a line.
pub fn list_json(catalogue: &Catalogue, out: &mut dyn Write) -> io::Result<()> {
    for query in catalogue.queries() {
        let parameters: Vec<Value> = query
            .parameters
            .iter()
            .map(|one| {
                json!({
                    "name": one.name,
                    "type": one.kind.word(),
                    "allowed": one.kind.to_string(),
                    "default": one.default,
                    "text": one.text,
                })
            })
            .collect();
        let defaults: Map<String, Value> = query
            .defaults
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        let file = match &query.origin {
            Origin::BuiltIn => None,
            Origin::File(path) => Some(path.display().to_string()),
        };
        let chart = query
            .chart
            .as_ref()
            .map(|chart| json!({"along": chart.along, "bars": chart.bars}));
        let line = json!({
            "name": query.name,
            "answers": query.answers,
            "about": query.about,
            "parameters": parameters,
            "defaults": defaults,
            "chart": chart,
            "file": file,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// One query: what its header says, and its SQL.
pub fn query(query: &Query, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", query.name, query.answers)?;
    if !query.about.is_empty() {
        writeln!(out, "{}", query.about)?;
    }
    if let Origin::File(path) = &query.origin {
        writeln!(out, "from {}", path.display())?;
    }
    writeln!(out)?;
    let mut lines: Vec<(String, String, String)> = query
        .parameters
        .iter()
        .map(|one| {
            let default = match one.default_text() {
                Some(default) => format!("= {default}"),
                None => "needed".to_owned(),
            };
            let text = format!("{}; {}", one.text, one.kind);
            (one.name.replace('_', "-"), default, text)
        })
        .collect();
    for (name, value) in &query.defaults {
        let text = "here; else the configuration's".to_owned();
        lines.push((name.clone(), format!("= {value}"), text));
    }
    let widest = |of: fn(&(String, String, String)) -> &String| {
        lines
            .iter()
            .map(|line| of(line).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, defaults) = (widest(|line| &line.0), widest(|line| &line.1));
    for (name, default, text) in &lines {
        writeln!(out, "  --{name:names$}  {default:defaults$}  {text}")?;
    }
    if !lines.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", query.template.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_query_is_shown_with_its_parameters() {
        let catalogue = Catalogue::built_in();
        let grep = catalogue.get("grep").expect("a query");
        insta::assert_snapshot!(text(|out| query(grep, out)));
    }

    #[test]
    fn every_line_of_the_list_is_json() {
        let lines = text(|out| list_json(&Catalogue::built_in(), out));
        assert_eq!(lines.lines().count(), crate::catalogue::BUILT_IN.len());
        for line in lines.lines() {
            let value: Value = serde_json::from_str(line).expect("JSON");
            assert!(
                value["name"].is_string() && value["parameters"].is_array(),
                "{line}"
            );
        }
    }
}
