//! report.html: the page that a run leaves, and the pieces that pages of all programs are made of.

pub mod about;
pub mod charts;
pub mod functions;
pub mod html;
pub mod mosaic;
pub mod run_page;
pub mod thumbnails;
