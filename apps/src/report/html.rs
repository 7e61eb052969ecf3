//! report.html: one file without outside resources, light or dark as the reader's system is.

use std::fmt::Write;

use crate::plot::scene::Scene;
use crate::plot::svg::{escape, to_svg};

/// A page under construction.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
}

/// A picture with a caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// `data:` address of the picture.
    pub source: String,
    /// First line, bold.
    pub heading: String,
    /// Second line.
    pub caption: String,
}

/// How the columns of a table are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Words, to the left.
    Text,
    /// Numbers, to the right.
    Number,
}

impl Page {
    /// A page with a heading and a line beneath it.
    pub fn new(title: &str, lead: &str) -> Self {
        let body = format!("<header><h1>{}</h1><p>{}</p></header>\n", escape(title), escape(lead));
        Page { title: title.to_owned(), body }
    }

    /// Headline figures: a number and what it is.
    pub fn figures_of_merit(&mut self, figures: &[(String, String)]) {
        self.body.push_str("<dl class=\"merit\">");
        for (value, name) in figures {
            self.push(format_args!("<div><dd>{}</dd><dt>{}</dt></div>", escape(value), escape(name)));
        }
        self.body.push_str("</dl>\n");
    }

    /// Begins a section.
    pub fn section(&mut self, heading: &str) {
        self.push(format_args!("<h2>{}</h2>\n", escape(heading)));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.push(format_args!("<p>{}</p>\n", escape(text)));
    }

    /// Plots beside each other as far as the window is wide.
    pub fn plots(&mut self, scenes: &[Scene]) {
        self.body.push_str("<div class=\"plots\">");
        for scene in scenes {
            self.push(format_args!("<figure class=\"plot\">{}</figure>", to_svg(scene)));
        }
        self.body.push_str("</div>\n");
    }

    /// A table; columns beyond the heads are dropped.
    pub fn table(&mut self, heads: &[(&str, Column)], rows: &[Vec<String>]) {
        let class = |column: Column| if column == Column::Number { " class=\"number\"" } else { "" };
        self.body.push_str("<div class=\"scroll\"><table><thead><tr>");
        for (head, column) in heads {
            self.push(format_args!("<th{}>{}</th>", class(*column), escape(head)));
        }
        self.body.push_str("</tr></thead><tbody>");
        for row in rows {
            self.body.push_str("<tr>");
            for (cell, (_, column)) in row.iter().zip(heads) {
                self.push(format_args!("<td{}>{}</td>", class(*column), escape(cell)));
            }
            self.body.push_str("</tr>");
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// Pictures in a grid; `width` is that of a picture in pixels.
    pub fn gallery(&mut self, figures: &[Figure], width: u32) {
        self.push(format_args!("<div class=\"gallery\" style=\"--cell:{width}px\">"));
        for f in figures {
            self.push(format_args!(
                "<figure><img src=\"{}\" alt=\"{}\"><figcaption><b>{}</b><span>{}</span></figcaption></figure>",
                escape(&f.source),
                escape(&f.heading),
                escape(&f.heading),
                escape(&f.caption)
            ));
        }
        self.body.push_str("</div>\n");
    }

    /// Text of a file, folded away until asked for.
    pub fn folded(&mut self, summary: &str, text: &str) {
        let (summary, text) = (escape(summary), escape(text));
        self.push(format_args!("<details><summary>{summary}</summary><pre>{text}</pre></details>\n"));
    }

    /// The finished page.
    pub fn render(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{}</title><style>{STYLE}</style></head><body><main>\n{}</main></body></html>\n",
            escape(&self.title),
            self.body
        )
    }

    fn push(&mut self, text: std::fmt::Arguments) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c1e21;--muted:#60666e;--grid:#dee1e6;--surface:#fff;--page:#f5f6f8}\
@media(prefers-color-scheme:dark){:root{--text:#e8eaed;--muted:#a0a7b0;--grid:#363b42;--surface:#1d2024;\
--page:#131518}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--text);\
font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\
main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}\
h1{font-size:26px;line-height:1.2;margin:0 0 4px}header p{margin:0;color:var(--muted)}\
h2{font-size:18px;margin:40px 0 12px}p{max-width:70ch}\
svg{display:block;max-width:100%;height:auto;font-family:inherit}\
figure{margin:0}\
.merit{display:flex;flex-wrap:wrap;gap:12px;margin:24px 0 0}\
.merit div{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:12px 20px;\
min-width:130px}\
.merit dd{margin:0;font-size:24px;font-weight:600;font-variant-numeric:tabular-nums}\
.merit dt{color:var(--muted);font-size:13px}\
.plots{display:flex;flex-wrap:wrap;gap:16px}\
.plot{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:12px;max-width:100%}\
.scroll{overflow-x:auto;margin-top:16px}\
table{border-collapse:collapse;background:var(--surface);border:1px solid var(--grid);font-size:14px}\
th,td{padding:6px 14px;text-align:left;border-bottom:1px solid var(--grid)}\
th{font-weight:600;color:var(--muted)}tr:last-child td{border-bottom:0}\
.number{text-align:right;font-variant-numeric:tabular-nums}\
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--cell)),1fr));gap:16px}\
.gallery figure{background:var(--surface);border:1px solid var(--grid);border-radius:8px;overflow:hidden}\
.gallery img{display:block;width:100%;height:auto}\
figcaption{padding:8px 10px;font-size:13px;line-height:1.35;overflow-wrap:anywhere}\
figcaption b{display:block}figcaption span{color:var(--muted)}\
details{margin-top:40px}summary{cursor:pointer;color:var(--muted)}\
pre{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:16px;overflow-x:auto;\
font:13px/1.5 ui-monospace,\"DejaVu Sans Mono\",monospace}\
@media print{body{background:#fff}figure,tr{break-inside:avoid}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_whole_and_need_nothing_from_outside() {
        let mut page = Page::new("Run <1>", "KAT & co");
        page.figures_of_merit(&[("97.1 %".into(), "top-1".into())]);
        page.section("Curves");
        page.plots(&[Scene::new("empty", 10.0, 10.0)]);
        let heads = [("class", Column::Text), ("count", Column::Number)];
        page.table(&heads, &[vec!["a<b".into(), "3".into(), "dropped".into()]]);
        let source = "data:image/jpeg;base64,AA==".to_owned();
        page.gallery(&[Figure { source, heading: "cat \"x\"".into(), caption: "dog, 99 %".into() }], 120);
        page.folded("Configuration", "[train]\nepochs = 3");
        let html = page.render();
        for part in ["Run &lt;1&gt;", "KAT &amp; co", "a&lt;b", "alt=\"cat &quot;x&quot;\"", "epochs = 3"] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("dropped") && !html.contains("http") && !html.contains("<script"));
        for tag in ["div", "figure", "table", "tr", "td", "svg", "details", "dl", "main"] {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
