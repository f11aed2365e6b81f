//! The progress bar of `shipper once`, `audit` and `recover`: on standard error, on a terminal only.

use std::fmt;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{audit, printable};

/// What the bar looks like; coloured where colours are wanted.
const COLOURED: &str = "{bar:30.cyan/dim} {msg}";
const PLAIN: &str = "{bar:30} {msg}";

/// Full, half, empty.
const BAR_CHARS: &str = "=> ";

/// Who looks at the bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// Nobody: standard error is no terminal.
    Nobody,
    /// A person who wants no colours (`NO_COLOR`).
    Plain,
    /// A person.
    Coloured,
}

/// How far a run is. Clones move the same bar.
#[derive(Clone)]
pub struct Progress(ProgressBar);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.0.position()).finish()
    }
}

impl Progress {
    /// A bar on standard error, or none for [`Viewer::Nobody`].
    pub fn new(viewer: Viewer) -> Self {
        let target = match viewer {
            Viewer::Nobody => ProgressDrawTarget::hidden(),
            Viewer::Plain | Viewer::Coloured => ProgressDrawTarget::stderr(),
        };
        Self::on(target, viewer)
    }

    fn on(target: ProgressDrawTarget, viewer: Viewer) -> Self {
        let template = match viewer {
            Viewer::Coloured => COLOURED,
            Viewer::Nobody | Viewer::Plain => PLAIN,
        };
        let bar = ProgressBar::with_draw_target(None, target);
        // The templates are constants, which a test reads; a bar without style is still one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars(BAR_CHARS));
        }
        Self(bar)
    }

    /// So many bytes of logs are to be shipped (found so far), so many of them are, in so many objects.
    pub fn set(&self, total_bytes: u64, done_bytes: u64, objects: u64) {
        self.0.set_length(total_bytes);
        self.0.set_position(done_bytes.min(total_bytes));
        self.0.set_message(text(total_bytes, done_bytes, objects));
    }

    /// So many hours of the archive are read, of all that there are, with so many objects of so many bytes.
    pub fn set_read(&self, read: &audit::Progress) {
        self.0.set_length(read.of_hours);
        self.0.set_position(read.hours.min(read.of_hours));
        self.0.set_message(read_text(read));
    }

    /// Takes the bar away, at the end or before something else is written there.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn text(total_bytes: u64, done_bytes: u64, objects: u64) -> String {
    format!(
        "{} of {}, {} objects",
        printable::bytes(done_bytes),
        printable::bytes(total_bytes),
        printable::count(objects)
    )
}

fn read_text(read: &audit::Progress) -> String {
    format!(
        "{} of {} hours, {} objects, {}",
        printable::count(read.hours),
        printable::count(read.of_hours),
        printable::count(read.objects),
        printable::bytes(read.object_bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn text(&self) -> String {
            self.0.lock().expect("no panic").clone()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no panic").push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.write_str("\n")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(viewer: Viewer, set: impl Fn(&Progress)) -> String {
        let screen = Screen::default();
        let target = match viewer {
            Viewer::Nobody => ProgressDrawTarget::hidden(),
            _ => ProgressDrawTarget::term_like(Box::new(screen.clone())),
        };
        let progress = Progress::on(target, viewer);
        set(&progress);
        progress.0.force_draw();
        screen.text()
    }

    #[test]
    fn a_bar_is_drawn_for_people_only() {
        let shipped = |progress: &Progress| progress.set(200_000_000, 50_000_000, 3);
        let text = drawn(Viewer::Plain, shipped);
        assert!(text.contains("50 MB of 200 MB, 3 objects"), "{text:?}");
        assert!(text.contains("=======>  "), "{text:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(drawn(Viewer::Nobody, shipped), "");
        let read = |progress: &Progress| {
            progress.set_read(&audit::Progress {
                hours: 12,
                of_hours: 48,
                objects: 1234,
                object_bytes: 5_000_000,
            });
        };
        let text = drawn(Viewer::Plain, read);
        assert!(
            text.contains("12 of 48 hours, 1 234 objects, 5.0 MB"),
            "{text:?}"
        );
        assert_eq!(drawn(Viewer::Nobody, read), "");
    }

    #[test]
    fn templates_are_sound() {
        for template in [COLOURED, PLAIN] {
            ProgressStyle::with_template(template).expect("a template");
        }
    }

    #[test]
    fn more_done_than_found_is_no_more_than_all() {
        let progress = Progress::new(Viewer::Nobody);
        progress.set(10, 20, 1);
        assert_eq!(progress.0.position(), 10);
        progress.clear();
    }
}
