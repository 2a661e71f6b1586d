//! Columns as Go's tabwriter lays them out for docker: at least ten wide, three blanks between, the last as it is.

/// The narrowest column, its blanks included.
const NARROWEST: usize = 10;
/// Blanks after the widest cell.
const PADDING: usize = 3;

/// Lays out lines whose cells are separated by tabs.
pub(crate) fn align(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        // The last cell of a row ends with the line and belongs to no column.
        for (column, cell) in row.iter().take(row.len().saturating_sub(1)).enumerate() {
            if widths.len() == column {
                widths.push(0);
            }
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            aligned.push_str(cell);
            if column + 1 < row.len() {
                // A column in which all cells are empty takes no room.
                let wanted = if widths[column] == 0 {
                    0
                } else {
                    (widths[column] + PADDING).max(NARROWEST)
                };
                for _ in width(cell)..wanted {
                    aligned.push(' ');
                }
            }
        }
        aligned.push('\n');
    }
    aligned
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        assert_eq!(
            align("ID\tNAME\tSTATUS\na1b2c3d4e5f6\tx…\tUp\n"),
            "ID             NAME      STATUS\na1b2c3d4e5f6   x…        Up\n"
        );
        assert_eq!(align(""), "");
    }
}
