//! What was measured, as a table and as JSON.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use mesh_runtime::clock;
use serde_json::{Map, Value, json};

use crate::machine::{self, Machine};

/// Everything measured in one run.
#[derive(Debug)]
pub struct Report {
    date: String,
    machine: Machine,
    rows: Vec<Row>,
    details: Map<String, Value>,
}

/// One figure and its bar.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure, with its unit.
    pub figure: String,
    /// The bar, with its unit; empty for a figure without one.
    pub bar: String,
    /// Whether the figure meets it.
    pub is_met: Option<bool>,
}

impl Row {
    /// A figure without a bar.
    pub fn plain(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            figure: figure.into(),
            bar: String::new(),
            is_met: None,
        }
    }
}

impl Report {
    /// An empty report.
    pub fn new(machine: Machine) -> Self {
        Self {
            date: clock::now().to_string(),
            machine,
            rows: Vec::new(),
            details: Map::new(),
        }
    }

    /// Adds a line of the table.
    pub fn row(&mut self, row: Row) {
        crate::progress(&format!("  {}: {}", row.what, row.figure));
        self.rows.push(row);
    }

    /// Adds figures that are not in the table under `part`.
    pub fn detail(&mut self, part: &str, detail: Value) {
        if let Value::Array(list) = self.details.entry(part).or_insert_with(|| json!([])) {
            list.push(detail);
        }
    }

    /// Prints the table and the JSON, which a file gets, too, if there is one.
    ///
    /// # Errors
    /// When the file cannot be written, or there are `failures`: what was measured before and
    /// after one is still worth reading.
    pub fn publish(&self, file: Option<&Path>, failures: &[String]) -> anyhow::Result<()> {
        let json = format!("{:#}", self.to_json());
        #[expect(
            clippy::print_stdout,
            reason = "a table and JSON are what a bench is run for"
        )]
        {
            println!("{self}\n{json}");
        }
        if let Some(file) = file {
            std::fs::write(file, json)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        anyhow::ensure!(failures.is_empty(), "{}", failures.join("; "));
        Ok(())
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({"what": row.what, "figure": row.figure, "bar": row.bar, "met": row.is_met})
        });
        json!({
            "date": self.date,
            "machine": self.machine.to_json(),
            "load_at_end": machine::load(),
            "bars": rows.collect::<Vec<_>>(),
            "details": self.details,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: {}", self.date, self.machine)?;
        writeln!(f, "load at the end: {}\n", machine::load())?;
        writeln!(f, "{:<62} {:>16}  {:<30} met", "what", "figure", "bar")?;
        for row in &self.rows {
            let met = match row.is_met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            let Row {
                what, figure, bar, ..
            } = row;
            writeln!(f, "{what:<62} {figure:>16}  {bar:<30} {met}")?;
        }
        Ok(())
    }
}
