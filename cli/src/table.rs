//! Tables as `kumactl` prints them: upper-case headers, three spaces between columns.

use std::fmt;

use mesh_model::Timestamp;

/// A table, printed without a line end behind the last row.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header.iter().map(ToString::to_string).collect();
        let lines: Vec<&Vec<String>> = [&header].into_iter().chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        for (index, line) in lines.iter().enumerate() {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text += &format!("{cell:width$}   ");
            }
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(text.trim_end())?;
        }
        Ok(())
    }
}

/// How long ago a time was (`12s`, `5m`, `3h`, `9d`, `2y`); `never` for none and for the future.
pub(crate) fn ago(now: Timestamp, time: Option<&str>) -> String {
    let Some(time) = time.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "never".to_owned();
    };
    let seconds = now.unix_seconds() - time.unix_seconds();
    match seconds {
        i64::MIN..0 => "never".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["MESH", "NAME", "AGE"]);
        table.push(["default", "edge", "28s"].map(str::to_owned));
        table.push(["é", "", ""].map(str::to_owned));
        assert_eq!(
            table.to_string(),
            "MESH      NAME   AGE\ndefault   edge   28s\né"
        );
    }

    #[test]
    fn ages_have_one_unit() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-03-01T10:00:00Z", "0s"),
            ("2026-03-01T09:59:01Z", "59s"),
            ("2026-03-01T09:59:00Z", "1m"),
            ("2026-02-28T10:00:01Z", "23h"),
            ("2025-03-02T10:00:00Z", "364d"),
            ("2024-01-01T10:00:00Z", "2y"),
            ("2026-03-01T10:00:02Z", "never"),
            ("soon", "never"),
        ] {
            assert_eq!(ago(now, Some(time)), expected, "{time}");
        }
        assert_eq!(ago(now, None), "never");
    }
}
