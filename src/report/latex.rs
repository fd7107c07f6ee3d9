//! Reports as LaTeX tables (package booktabs), the best mean bold.

use super::grid::{Grid, Stat, differences, metrics, paper};
use super::sheet::Sheet;

pub fn latex(sheets: &[Sheet], stats: &[Stat]) -> String {
    let mut out = "% \\usepackage{booktabs}\n".to_owned();
    for sheet in sheets {
        let name = escape(&format!("{} {}", sheet.method.verb.name(), sheet.method.name));
        let notes: String = sheet.notes().iter().map(|note| format!(" {}.", escape(note))).collect();
        let paper_note = escape(sheet.method.paper);
        out += &table(&metrics(sheet, stats), &format!("{name} ({paper_note}).{notes}"));
        if let (Some(grid), Some(explanation)) = (differences(sheet), sheet.explanation()) {
            out += &table(&grid, &format!("{name}: {}.", escape(&explanation)));
        }
        if let Some(grid) = paper(sheet) {
            out += &table(&grid, &format!("{name}: the paper's numbers and ours."));
        }
    }
    out
}

fn table(grid: &Grid, caption: &str) -> String {
    let columns: String = (0..grid.header.len()).map(|c| if c >= grid.numbers { 'r' } else { 'l' }).collect();
    let header = grid.header.iter().map(|h| escape(h)).collect::<Vec<_>>().join(" & ");
    let mut out = format!("\n\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n");
    out += &format!("\\toprule\n{header} \\\\\n\\midrule\n");
    for row in &grid.rows {
        let cells = row.iter().map(|cell| match cell.strong {
            true => format!("\\textbf{{{}}}", escape(&cell.text)),
            false => escape(&cell.text),
        });
        out += &format!("{} \\\\\n", cells.collect::<Vec<_>>().join(" & "));
    }
    out + "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '\\' => out += "\\textbackslash{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '±' => out += "$\\pm$",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::grid::Text;
    use super::*;

    #[test]
    fn tables_are_booktabs_and_escaped() {
        let cell = |text: &str, strong| Text { text: text.into(), strong, value: None };
        let grid = Grid {
            header: vec!["arm".into(), "a_b".into()],
            numbers: 1,
            rows: vec![vec![cell("50% & more", false), cell("0.5 ± 0.1", true)]],
        };
        let text = table(&grid, "c");
        assert!(text.contains("\\begin{tabular}{lr}\n\\toprule\narm & a\\_b \\\\\n\\midrule\n"), "{text}");
        assert!(text.contains("50\\% \\& more & \\textbf{0.5 $\\pm$ 0.1} \\\\\n\\bottomrule"), "{text}");
        assert_eq!(escape("\\{x}~"), "\\textbackslash{}\\{x\\}\\textasciitilde{}");
    }
}
