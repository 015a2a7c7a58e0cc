//! The page for people, put together from its parts: one document that needs nothing but
//! `/status.json`.
//!
//! | file | has |
//! |---|---|
//! | `format.js` | numbers with units; text of clients as harmless text |
//! | `samples.js` | what was counted in the last minutes: rates and quantiles by differences |
//! | `chart.js`, `charts.js` | one chart; which charts there are |
//! | `table.js` | tables that can be sorted |
//! | `locks.js` | who waits for whom |
//! | `facts.js` | clients, storages, packs, the process |
//! | `main.js` | asks the server, and says first what is wrong |

/// The whole document. It has one `<style>` and one `<script>`.
pub(super) const PAGE: &str = concat!(
    include_str!("head.html"),
    "<style>\n",
    include_str!("page.css"),
    "</style>\n",
    include_str!("body.html"),
    "<script>\n(() => {\n'use strict';\n",
    include_str!("format.js"),
    include_str!("samples.js"),
    include_str!("chart.js"),
    include_str!("charts.js"),
    include_str!("table.js"),
    include_str!("locks.js"),
    include_str!("facts.js"),
    include_str!("main.js"),
    "})();\n</script>\n</body>\n</html>\n",
);
