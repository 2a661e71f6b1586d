//! A markdown table.

/// Rows of cells under a head.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table.
    pub fn new(title: &str, head: &[&str]) -> Self {
        let owned = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        Self {
            title: title.to_owned(),
            rows: vec![owned(head)],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Returns the table as text, its columns aligned.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| cell(row, column).chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = format!("### {}\n\n", self.title);
        for (index, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let content = cell(row, column);
                let pad = " ".repeat(width - content.chars().count());
                text.push_str(&format!("| {content}{pad} "));
            }
            text.push_str("|\n");
            if index == 0 {
                for width in &widths {
                    text.push_str(&format!("|{}", "-".repeat(width + 2)));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("T", &["a", "time"]);
        table.row(["long name", "1 µs"]);
        assert_eq!(
            table.render(),
            "### T\n\n| a         | time |\n|-----------|------|\n| long name | 1 µs |\n"
        );
    }
}
