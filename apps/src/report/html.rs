//! report.html: one file without outside resources, light or dark as the reader's system is.

use std::fmt::Write;

use crate::plot::Plot;

/// A page under construction.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
    /// Whether a section is open.
    section: bool,
    /// Seconds after which the page loads itself again.
    refresh: Option<u32>,
}

/// How much of a wide window a section takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// A column, beside another section.
    Half,
    /// All of it.
    Whole,
}

/// An image with a caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// `data:` address of the image.
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

/// Text with what must not be in a page replaced: control characters, which XML does not allow at all, and those that
/// turn the direction of what follows around.
pub fn visible(text: &str) -> String {
    let acts = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

/// Text made safe inside HTML and SVG, attributes included.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

impl Page {
    /// A page with a heading and a line beneath it.
    pub fn new(title: &str, lead: &str) -> Self {
        let body = format!("<header><h1>{}</h1><p>{}</p></header>\n", escape(title), escape(lead));
        Page { title: title.to_owned(), body, section: false, refresh: None }
    }

    /// Lets the page load itself again after so many seconds.
    pub fn refresh(&mut self, seconds: u32) {
        self.refresh = Some(seconds);
    }

    /// Says that a run goes on, and how much of it is done.
    pub fn under_way(&mut self, text: &str, share: f64) {
        let percent = 100.0 * share.clamp(0.0, 1.0);
        self.push(format_args!(
            "<p class=\"way\"><span class=\"bar\"><span style=\"width:{percent:.1}%\"></span></span>{}</p>\n",
            escape(text)
        ));
    }

    /// What there is to know, each with its name.
    pub fn facts(&mut self, facts: &[(&str, String)]) {
        self.body.push_str("<dl class=\"facts\">");
        for (name, value) in facts {
            self.push(format_args!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value)));
        }
        self.body.push_str("</dl>\n");
    }

    /// An image as wide as the page.
    pub fn picture(&mut self, source: &str, what: &str) {
        let (source, what) = (escape(source), escape(what));
        self.push(format_args!(
            "<div class=\"scroll\"><img class=\"picture\" src=\"{source}\" alt=\"{what}\"></div>\n"
        ));
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
    pub fn section(&mut self, heading: &str, width: Width) {
        self.end_section();
        self.section = true;
        let class = if width == Width::Whole { " class=\"whole\"" } else { "" };
        self.push(format_args!("<section{class}><h2>{}</h2>\n", escape(heading)));
    }

    fn end_section(&mut self) {
        if std::mem::take(&mut self.section) {
            self.body.push_str("</section>\n");
        }
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.push(format_args!("<p>{}</p>\n", escape(text)));
    }

    /// Plots beside each other as far as the window is wide.
    pub fn plots<'p>(&mut self, plots: impl IntoIterator<Item = &'p Plot>) {
        self.body.push_str("<div class=\"plots\">");
        for plot in plots {
            self.push(format_args!("<figure class=\"plot\">{}</figure>", plot.svg()));
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

    /// Images in a grid; `width` is that of an image in pixels.
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
        self.end_section();
        let (summary, text) = (escape(summary), escape(text));
        self.push(format_args!("<details><summary>{summary}</summary><pre>{text}</pre></details>\n"));
    }

    /// The finished page.
    pub fn render(&self) -> String {
        let refresh =
            self.refresh.map(|seconds| format!("{REFRESH} content=\"{seconds}\">")).unwrap_or_default();
        let end = if self.section { "</section>\n" } else { "" };
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
             <title>{}</title><style>{STYLE}</style></head><body><main>\n{}{end}</main></body></html>\n",
            escape(&self.title),
            self.body
        )
    }

    fn push(&mut self, text: std::fmt::Arguments) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
    }
}

/// How the head of a page says that it loads itself again.
pub const REFRESH: &str = "<meta http-equiv=\"refresh\"";

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c1e21;--muted:#60666e;--grid:#dee1e6;--surface:#fff;--page:#f5f6f8;--bar:#1f77b4}\
@media(prefers-color-scheme:dark){:root{--text:#e8eaed;--muted:#a0a7b0;--grid:#363b42;--surface:#1d2024;\
--page:#131518;--bar:#5aa9e0}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--text);\
font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\
main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}\
h1{font-size:26px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}header p{margin:0;color:var(--muted)}\
h2{font-size:18px;margin:40px 0 12px}p{max-width:70ch}\
section{min-width:0}\
svg{display:block;max-width:100%;height:auto;font-family:inherit}\
polyline{stroke-linejoin:round;stroke-linecap:round}\
figure{margin:0}\
.way{display:flex;flex-wrap:wrap;align-items:center;gap:12px;color:var(--muted);max-width:none}\
.bar{display:inline-block;width:200px;height:6px;border-radius:3px;background:var(--grid);overflow:hidden}\
.bar span{display:block;height:100%;background:var(--bar)}\
.merit{display:flex;flex-wrap:wrap;gap:12px;margin:24px 0 0}\
.merit div{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:12px 20px;\
min-width:130px}\
.merit dd{margin:0;font-size:24px;font-weight:600;font-variant-numeric:tabular-nums}\
.merit dt,.facts dt{color:var(--muted);font-size:13px}\
.facts{display:flex;flex-wrap:wrap;gap:8px 32px;margin:20px 0 0}.facts dd{margin:0;overflow-wrap:anywhere}\
.plots{display:flex;flex-wrap:wrap;gap:16px}\
.plot{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:12px;max-width:100%}\
.picture{display:block;width:100%;min-width:680px;height:auto;border:1px solid var(--grid);border-radius:8px;background:#fff}\
.scroll{overflow-x:auto;margin-top:16px}\
table{border-collapse:collapse;background:var(--surface);border:1px solid var(--grid);font-size:14px}\
th,td{padding:6px 14px;text-align:left;border-bottom:1px solid var(--grid)}\
th{font-weight:600;color:var(--muted)}tr:last-child td{border-bottom:0}\
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--cell)),1fr));gap:16px}\
.gallery figure{background:var(--surface);border:1px solid var(--grid);border-radius:8px;overflow:hidden}\
.gallery img{display:block;width:100%;height:auto}\
figcaption{padding:8px 10px;font-size:13px;line-height:1.35;overflow-wrap:anywhere}\
figcaption b{display:block}figcaption span{color:var(--muted)}\
details{margin-top:40px}summary{cursor:pointer;color:var(--muted)}\
pre{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:16px;overflow-x:auto;\
font:13px/1.5 ui-monospace,\"DejaVu Sans Mono\",monospace}\
@media screen and (min-width:1500px){main{max-width:1640px;display:grid;grid-template-columns:repeat(2,minmax(0,1fr));\
column-gap:32px}header,dl,.way,.whole,details,main>p{grid-column:1/-1}}\
@media print{:root{color-scheme:light;--text:#1c1e21;--muted:#60666e;--grid:#dee1e6;--surface:#fff;--page:#fff}\
main{max-width:none;padding:0}.way{display:none}.scroll,pre{overflow:visible}pre{white-space:pre-wrap}.picture{min-width:0}\
figure,tr,.plot{break-inside:avoid}h2{break-after:avoid}}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::curves::LineChart;

    #[test]
    fn pages_are_whole_and_need_nothing_from_outside() {
        let mut page = Page::new("Run <1>", "KAT & co");
        page.figures_of_merit(&[("97.1 %".into(), "top-1".into())]);
        page.section("Curves", Width::Half);
        page.refresh(7);
        page.facts(&[("command", "a < b".to_owned())]);
        page.plots([&LineChart::new("empty", "x", Vec::new()).plot().unwrap()]);
        let heads = [("class", Column::Text), ("count", Column::Number)];
        page.table(&heads, &[vec!["a<b".into(), "3".into(), "dropped".into()]]);
        let source = "data:image/jpeg;base64,AA==".to_owned();
        page.gallery(&[Figure { source, heading: "cat \"x\"".into(), caption: "dog, 99 %".into() }], 120);
        page.folded("Configuration", "[train]\nepochs = 3");
        let html = page.render();
        for part in ["Run &lt;1&gt;", "KAT &amp; co", "a&lt;b", "alt=\"cat &quot;x&quot;\"", "epochs = 3"] {
            assert!(html.contains(part), "{part}");
        }
        assert!(
            !html.contains("dropped")
                && !html.replace("http-equiv", "").contains("http")
                && !html.contains("<script")
        );
        assert!(html.contains(&format!("{REFRESH} content=\"7\">")) && html.contains("<dd>a &lt; b</dd>"));
        for tag in ["div", "section", "figure", "table", "tr", "td", "svg", "details", "dl", "main"] {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
