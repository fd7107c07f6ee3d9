//! Reports as one HTML page: tables that sort, pictures inside, nothing fetched from anywhere.

use anyhow::Result;

use super::figures;
use super::grid::{Grid, Stat, differences, metrics, paper};
use super::sheet::Sheet;

pub fn html(sheets: &[Sheet], stats: &[Stat]) -> Result<String> {
    let mut body = String::new();
    let links = sheets.iter().map(|sheet| format!("<a href=\"#{0}\">{0}</a>", escape(sheet.method.name)));
    if sheets.len() > 1 {
        body += &format!("<nav>{}</nav>\n", links.collect::<Vec<_>>().join(" · "));
    }
    for sheet in sheets {
        let (verb, name) = (sheet.method.verb.name(), escape(sheet.method.name));
        body += &format!("<section id=\"{name}\">\n<h2>{verb} {name}</h2>\n");
        body += &format!("<p>{}<br><small>{}</small></p>\n", escape(sheet.method.about), escape(sheet.method.paper));
        body += &table(&metrics(sheet, stats), "Bold: the best mean of its preset.");
        if let (Some(grid), Some(explanation)) = (differences(sheet), sheet.explanation()) {
            body += &format!("<h3>Compared with {}</h3>\n", escape(sheet.baseline.as_deref().unwrap_or_default()));
            body += &table(&grid, &format!("Numbers are {explanation}."));
        }
        for note in sheet.notes() {
            body += &format!("<p>Note: {}.</p>\n", escape(&note));
        }
        if let Some(grid) = paper(sheet) {
            body += &format!("<h3>The paper's numbers</h3>\n{}", table(&grid, ""));
        }
        let pictures: Vec<String> = [figures::curves(sheet)?, figures::bars(sheet)?].concat();
        if !pictures.is_empty() {
            let figure = |svg: &String| format!("<figure>{svg}</figure>\n");
            body += &format!("<div class=\"figures\">\n{}</div>\n", pictures.iter().map(figure).collect::<String>());
        }
        let own = figures::own(sheet);
        if !own.is_empty() {
            let figure = |(caption, svg): &(String, String)| {
                let caption = escape(caption);
                format!(
                    "<figure><img alt=\"{caption}\" src=\"{}\"><figcaption>{caption}</figcaption></figure>\n",
                    data_url(svg)
                )
            };
            let figures: String = own.iter().map(figure).collect();
            body += &format!(
                "<details><summary>What the runs drew</summary>\n<div class=\"figures\">\n{figures}</div></details>\n"
            );
        }
        body += "</section>\n";
    }
    Ok(PAGE.replace("{STYLE}", STYLE).replace("{SCRIPT}", SCRIPT).replace("{BODY}", &body))
}

fn table(grid: &Grid, caption: &str) -> String {
    let class = |c: usize| if c >= grid.numbers { " class=\"number\"" } else { "" };
    let head = |(c, name): (usize, &String)| {
        format!("<th scope=\"col\"{}><button type=\"button\">{}</button></th>", class(c), escape(name))
    };
    let header: String = grid.header.iter().enumerate().map(head).collect();
    let mut out = format!("<div class=\"wide\"><table>\n<caption>{}</caption>\n", escape(caption));
    out += &format!("<thead><tr>{header}</tr></thead>\n<tbody>\n");
    for row in &grid.rows {
        out += "<tr>";
        for (c, cell) in row.iter().enumerate() {
            let value = cell.value.map_or(String::new(), |v| format!(" data-value=\"{v}\""));
            let text = escape(&cell.text);
            let text = if cell.strong { format!("<b>{text}</b>") } else { text };
            out += &format!("<td{}{value}>{text}</td>", class(c));
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table></div>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A picture from a file as an image, in which no script can run.
fn data_url(svg: &str) -> String {
    let mut url = "data:image/svg+xml,".to_owned();
    for letter in svg.chars() {
        match letter {
            '\n' => url.push(' '),
            '"' => url.push('\''),
            '%' | '#' | '<' | '>' | '&' | '\'' => url += &format!("%{:02X}", letter as u32),
            other => url.push(other),
        }
    }
    url
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>reglab report</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<h1>reglab report</h1>
{BODY}<script>{SCRIPT}</script>
</body>
</html>
"#;

const STYLE: &str = r#"
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #d0d0d0; --stripe: #f5f7fa; --link: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --faint: #3c4048; --stripe: #1f2329; --link: #56b4e9; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 1500px; padding: 0 1rem; }
a { color: var(--link); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding: .3rem 0; font-size: .85rem; }
caption:empty { display: none; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid var(--faint); vertical-align: top; }
th { border-bottom: 2px solid var(--faint); white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
tbody tr:nth-child(even) { background: var(--stripe); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); gap: 1rem; margin: 1rem 0; }
figure { margin: 0; background: #fff; color: #1a1a1a; border: 1px solid var(--faint); border-radius: 6px; padding: .4rem; }
figure svg, figure img { width: 100%; height: auto; max-width: 640px; display: block; margin: auto; }
figcaption { font-size: .85rem; text-align: center; }
summary { cursor: pointer; font-weight: 600; }
"#;

const SCRIPT: &str = r#"
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const key = row => {
      const cell = row.cells[column];
      return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = typeof x === "number" && typeof y === "number"
        ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
      return down ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
  }));
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_pictures_cannot_break_out() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        assert_eq!(data_url("<svg a=\"#x\">\n50%</svg>"), "data:image/svg+xml,%3Csvg a='%23x'%3E 50%25%3C/svg%3E");
    }
}
