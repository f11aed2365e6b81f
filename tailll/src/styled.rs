//! A text and which parts of it are coloured how, before it becomes bytes.
//!
//! Owns putting text, styles and highlighted places together for a terminal or a pipe, with or without colours. Which parts
//! have which style is decided by `fields.rs`, `template.rs` and `render.rs`; which colour a style is by `palette.rs`.

use std::ops::Range;

use joblog::Level;

use crate::color::StreamKind;
use crate::escape;

/// What a part of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Of less interest: times, keys.
    Dim,
    /// The line's level.
    Level(Level),
    /// The instance's name.
    Instance,
    /// What the user asked to stand out.
    Highlight,
}

/// A part of a text with its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where it begins in the text.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// What it is.
    pub(crate) style: Style,
}

/// A text with the styles of its parts: in order, not overlapping, none over the end of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Styled {
    /// The text.
    pub(crate) text: Vec<u8>,
    /// The parts.
    pub(crate) spans: Vec<Span>,
}

/// A text that grows, and in which parts have styles.
pub(crate) trait Growing {
    /// Begins anew.
    fn clear(&mut self);

    /// What was appended so far; more may be appended to it, and what is no part of a style changed.
    fn text(&mut self) -> &mut Vec<u8>;

    /// Gives a style to what is appended until [`Growing::end`]. Nothing leaves no trace.
    fn begin(&mut self, style: Style) -> Begun;

    /// Ends the style.
    fn end(&mut self, begun: Begun);

    /// Appends another text with its styles.
    fn append(&mut self, other: &Self);

    /// Puts a byte out of the text's beginning, which has no style.
    fn drop_first(&mut self);

    /// Appends text.
    #[inline]
    fn push(&mut self, text: &[u8]) {
        self.text().extend_from_slice(text);
    }

    /// Appends text of a style.
    #[inline]
    fn push_styled(&mut self, text: &[u8], style: Style) {
        let begun = self.begin(style);
        self.push(text);
        self.end(begun);
    }
}

/// A style that has begun.
#[derive(Debug)]
#[must_use]
pub(crate) struct Begun {
    /// Where the text was before.
    before: usize,
    /// Where the text of the style begins.
    start: usize,
    style: Style,
}

impl Styled {
    /// Gives a style to everything from `start` on.
    #[inline]
    pub(crate) fn style_from(&mut self, start: usize, style: Style) {
        let end = self.text.len();
        if start < end {
            self.spans.push(Span { start, end, style });
        }
    }
}

impl Growing for Styled {
    fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
    }

    #[inline]
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    #[inline]
    fn begin(&mut self, style: Style) -> Begun {
        let start = self.text.len();
        Begun {
            before: start,
            start,
            style,
        }
    }

    #[inline]
    fn end(&mut self, begun: Begun) {
        self.style_from(begun.start, begun.style);
    }

    fn append(&mut self, other: &Self) {
        let before = self.text.len();
        self.text.extend_from_slice(&other.text);
        self.spans.extend(other.spans.iter().map(|span| Span {
            start: span.start + before,
            end: span.end + before,
            style: span.style,
        }));
    }

    fn drop_first(&mut self) {
        self.text.remove(0);
        for span in &mut self.spans {
            span.start -= 1;
            span.end -= 1;
        }
    }
}

/// A text with its colours in it, for a pipe in which nothing else is to stand out: made in one go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Painted {
    text: Vec<u8>,
    codes: Option<Codes>,
}

impl Painted {
    pub(crate) fn new(codes: Option<Codes>) -> Self {
        Self {
            text: Vec::new(),
            codes,
        }
    }

    /// Appends the lines to others, each but the first behind `prefix`. The last one gets no newline.
    #[inline]
    pub(crate) fn append_to(&self, prefix: &[u8], to: &mut Vec<u8>) {
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', &self.text) {
            to.extend_from_slice(&self.text[start..=at]);
            to.extend_from_slice(prefix);
            start = at + 1;
        }
        to.extend_from_slice(&self.text[start..]);
    }
}

impl Growing for Painted {
    fn clear(&mut self) {
        self.text.clear();
    }

    #[inline]
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    #[inline]
    fn begin(&mut self, style: Style) -> Begun {
        let before = self.text.len();
        match (style, &self.codes) {
            (_, None) => {}
            // Most are this one, and what has a length that is known is copied faster.
            (Style::Dim, Some(_)) => self.text.extend_from_slice(DIM),
            (_, Some(codes)) => self.text.extend_from_slice(codes.of(style, b"")),
        }
        Begun {
            before,
            start: self.text.len(),
            style,
        }
    }

    #[inline]
    fn end(&mut self, begun: Begun) {
        if self.text.len() == begun.start {
            self.text.truncate(begun.before);
        } else if self.codes.is_some() {
            self.text.extend_from_slice(RESET);
        }
    }

    fn append(&mut self, other: &Self) {
        self.text.extend_from_slice(&other.text);
    }

    fn drop_first(&mut self) {
        self.text.remove(0);
    }
}

/// The escape sequences that switch styles on.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    /// By level, least serious first.
    pub(crate) levels: [Vec<u8>; 6],
}

const DIM: &[u8] = b"\x1b[2m";
const HIGHLIGHT: &[u8] = b"\x1b[1;7m";
const RESET: &[u8] = b"\x1b[0m";

impl Codes {
    /// The sequence of a style; `instance` is that of the line's instance.
    #[inline]
    fn of<'a>(&'a self, style: Style, instance: &'a [u8]) -> &'a [u8] {
        match style {
            Style::Dim => DIM,
            Style::Level(level) => &self.levels[level as usize],
            Style::Instance => instance,
            Style::Highlight => HIGHLIGHT,
        }
    }
}

/// How texts become bytes.
#[derive(Clone, Copy)]
pub(crate) struct Painter<'a> {
    /// What must not get control characters.
    pub(crate) stream: StreamKind,
    /// The colours, if there are any.
    pub(crate) codes: Option<&'a Codes>,
    /// What switches the colour of the line's instance on.
    pub(crate) instance: &'a [u8],
}

impl Painter<'_> {
    /// Appends a text of one line.
    #[inline]
    pub(crate) fn paint(self, text: &[u8], spans: &[Span], to: &mut Vec<u8>) {
        self.paint_from(text, 0, spans, to);
    }

    /// Appends lines, each but the first behind `prefix`. The last one gets no newline.
    pub(crate) fn paint_lines(self, styled: &Styled, prefix: &[u8], to: &mut Vec<u8>) {
        let mut spans = &styled.spans[..];
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', &styled.text) {
            let here = spans.partition_point(|span| span.start < at);
            self.paint_from(&styled.text[start..at], start, &spans[..here], to);
            to.push(b'\n');
            to.extend_from_slice(prefix);
            spans = &spans[here..];
            start = at + 1;
        }
        self.paint_from(&styled.text[start..], start, spans, to);
    }

    /// `spans` count from `base` before the text.
    #[inline]
    fn paint_from(self, text: &[u8], base: usize, spans: &[Span], to: &mut Vec<u8>) {
        let stream = if escape::is_ascii_text(text) {
            StreamKind::Pipe
        } else {
            self.stream
        };
        let Some(codes) = self.codes else {
            append_text(stream, text, to);
            return;
        };
        let mut shown = 0;
        for span in spans {
            // A highlighted place may go over the end of a line.
            let start = span.start.saturating_sub(base).clamp(shown, text.len());
            let end = span.end.saturating_sub(base).clamp(start, text.len());
            append_text(stream, &text[shown..start], to);
            to.extend_from_slice(codes.of(span.style, self.instance));
            append_text(stream, &text[start..end], to);
            to.extend_from_slice(RESET);
            shown = end;
        }
        append_text(stream, &text[shown..], to);
    }
}

/// Appends text as a terminal may have it, or as it is.
#[inline]
pub(crate) fn append_text(stream: StreamKind, bytes: &[u8], to: &mut Vec<u8>) {
    match stream {
        StreamKind::Terminal => escape::append(bytes, to),
        StreamKind::Pipe => to.extend_from_slice(bytes),
    }
}

/// Puts highlighted places over the styles of a text: where both are, the highlight counts.
pub(crate) fn overlay(spans: &mut Vec<Span>, places: &[Range<usize>]) {
    if places.is_empty() {
        return;
    }
    let mut all = Vec::with_capacity(spans.len() + places.len());
    for span in spans.iter() {
        let mut start = span.start;
        let first = places.partition_point(|place| place.end <= span.start);
        for place in &places[first..] {
            if place.start >= span.end {
                break;
            }
            if start < place.start {
                all.push(Span {
                    start,
                    end: place.start,
                    ..*span
                });
            }
            start = place.end;
        }
        if start < span.end {
            all.push(Span { start, ..*span });
        }
    }
    all.extend(places.iter().map(|place| Span {
        start: place.start,
        end: place.end,
        style: Style::Highlight,
    }));
    all.sort_unstable_by_key(|span| span.start);
    *spans = all;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes() -> Codes {
        Codes {
            levels: std::array::from_fn(|level| format!("<{level}>").into_bytes()),
        }
    }

    #[test]
    fn lines_are_split_with_their_styles() {
        let mut styled = Styled::default();
        styled.push_styled(b"12:00", Style::Dim);
        styled.push(b" one\n");
        styled.push_styled(b"ERROR", Style::Level(Level::Error));
        styled.push(b"\n\ntwo \x07");
        let codes = codes();
        let mut to = Vec::new();
        let painter = Painter {
            stream: StreamKind::Terminal,
            codes: Some(&codes),
            instance: b"",
        };
        painter.paint_lines(&styled, b"p | ", &mut to);
        let shown = String::from_utf8(to).unwrap().replace('\x1b', "ESC");
        insta::assert_snapshot!(shown, @r"
        ESC[2m12:00ESC[0m one
        p | <4>ERRORESC[0m
        p | 
        p | two \x07
        ");
    }

    proptest! {
        #[test]
        fn a_highlight_counts_where_both_are(styled in prop::collection::btree_set(0..40_usize, 0..10), lit in prop::collection::btree_set(0..40_usize, 0..10)) {
            let pairs = |set: std::collections::BTreeSet<usize>| {
                let all: Vec<usize> = set.into_iter().collect();
                all.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect::<Vec<_>>()
            };
            let (styled, places) = (pairs(styled), pairs(lit));
            let mut spans: Vec<Span> = styled.iter().map(|range| Span { start: range.start, end: range.end, style: Style::Dim }).collect();
            overlay(&mut spans, &places);
            prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for at in 0..40 {
                let found = spans.iter().find(|span| (span.start..span.end).contains(&at)).map(|span| span.style);
                let wanted = if places.iter().any(|place| place.contains(&at)) {
                    Some(Style::Highlight)
                } else if styled.iter().any(|range| range.contains(&at)) {
                    Some(Style::Dim)
                } else {
                    None
                };
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
