//! Reports as Markdown: aligned tables, the best mean bold.

use super::grid::{Grid, Stat, differences, metrics, paper};
use super::sheet::Sheet;

pub fn markdown(sheets: &[Sheet], stats: &[Stat]) -> String {
    let mut out = String::new();
    for sheet in sheets {
        out += &format!(
            "## {} {}\n\n{}\n\n{}",
            sheet.method.verb.name(),
            sheet.method.name,
            sheet.method.paper,
            table(&metrics(sheet, stats))
        );
        if let (Some(grid), Some(explanation)) = (differences(sheet), sheet.explanation()) {
            out += &format!("\nNumbers below are {explanation}.\n\n{}", table(&grid));
        }
        for note in sheet.notes() {
            out += &format!("\nNote: {note}.\n");
        }
        if let Some(grid) = paper(sheet) {
            out += &format!("\nThe paper's numbers:\n\n{}", table(&grid));
        }
        out += "\n";
    }
    out.trim_end().to_owned() + "\n"
}

fn table(grid: &Grid) -> String {
    let bold = |text: &str, strong: bool| if strong { format!("**{}**", escape(text)) } else { escape(text) };
    let mut lines: Vec<Vec<String>> = vec![grid.header.iter().map(|h| escape(h)).collect()];
    lines.extend(grid.rows.iter().map(|row| row.iter().map(|cell| bold(&cell.text, cell.strong)).collect()));
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> =
        (0..grid.header.len()).map(|c| lines.iter().map(|line| length(&line[c])).max().unwrap_or(0).max(3)).collect();
    let draw = |line: &Vec<String>| {
        let cell = |(c, text): (usize, &String)| {
            let space = " ".repeat(widths[c] - length(text));
            if c >= grid.numbers { format!(" {space}{text} |") } else { format!(" {text}{space} |") }
        };
        format!("|{}\n", line.iter().enumerate().map(cell).collect::<String>())
    };
    let rule = |(c, width): (usize, &usize)| {
        let dashes = "-".repeat(width - 1);
        if c >= grid.numbers { format!(" {dashes}: |") } else { format!(" -{dashes} |") }
    };
    let rule = format!("|{}\n", widths.iter().enumerate().map(rule).collect::<String>());
    draw(&lines[0]) + &rule + &lines[1..].iter().map(draw).collect::<String>()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '|' | '*' | '_' | '<' | '`' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::grid::Text;
    use super::*;

    #[test]
    fn tables_are_aligned_and_escaped() {
        let cell = |text: &str, strong| Text { text: text.into(), strong, value: None };
        let grid = Grid {
            header: vec!["arm".into(), "a_b".into()],
            numbers: 1,
            rows: vec![vec![cell("x|y", false), cell("0.5", true)], vec![cell("longer", false), cell("1", false)]],
        };
        let expected = "| arm    |    a\\_b |\n| ------ | ------: |\n| x\\|y   | **0.5** |\n| longer |       1 |\n";
        assert_eq!(table(&grid), expected);
    }
}
