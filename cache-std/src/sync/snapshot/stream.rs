//! A snapshot as it is read: a piece at a time, and on from the next whole record after what is
//! damaged.

use std::io::{self, Read};

use super::format::{FRAME, Frame, MARK};

/// Bytes that are read, looked at, and passed.
pub(super) struct Stream<R> {
    reader: R,
    /// What was read and not passed, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    read: u64,
    ended: bool,
}

impl<R: Read> Stream<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, read: 0, ended: false }
    }

    /// Bytes read so far.
    pub(super) const fn read(&self) -> u64 {
        self.read
    }

    /// The next `len` bytes; fewer only at the end. Takes memory for what is there, whatever `len`.
    pub(super) fn look(&mut self, len: usize) -> io::Result<&[u8]> {
        let there = self.buffer.len() - self.start;
        if there < len && !self.ended {
            self.buffer.drain(..self.start);
            self.start = 0;
            let more = (len - there) as u64;
            // What was read before an error stays.
            let answer = self.reader.by_ref().take(more).read_to_end(&mut self.buffer);
            let got = (self.buffer.len() - there) as u64;
            self.read += got;
            answer?;
            self.ended = got < more;
        }
        let seen = &self.buffer[self.start..];
        Ok(&seen[..seen.len().min(len)])
    }

    /// Goes on behind `len` bytes that were looked at.
    pub(super) fn pass(&mut self, len: usize) {
        self.start = self.buffer.len().min(self.start + len);
    }

    /// Goes on behind `len` bytes that nobody looks at; says whether there were as many.
    pub(super) fn skip(&mut self, mut len: u64) -> io::Result<bool> {
        const PIECE: u64 = 64 << 10;
        while len > 0 {
            let seen = self.look(len.min(PIECE) as usize)?.len();
            if seen == 0 {
                return Ok(false);
            }
            self.pass(seen);
            len -= seen as u64;
        }
        Ok(true)
    }

    /// The next frame, and whether there was anything else before it; `None` at the end.
    pub(super) fn frame(&mut self, salt: u64) -> io::Result<(Option<Frame>, bool)> {
        let mut damaged = false;
        loop {
            let seen = self.look(FRAME)?;
            if let Some(frame) = Frame::read(seen, salt) {
                self.pass(FRAME);
                return Ok((Some(frame), damaged));
            }
            damaged |= !seen.is_empty();
            if seen.len() < FRAME {
                return Ok((None, damaged));
            }
            let may_start = |at: &usize| MARK.starts_with(&seen[*at..FRAME.min(at + MARK.len())]);
            let next = (1..FRAME).find(may_start).unwrap_or(FRAME);
            self.pass(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::snapshot::format::Kind;

    /// Gives a byte at a time, and an error in between.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = out.len().min(1);
            self.0.read(&mut out[..len])
        }
    }

    #[test]
    fn no_more_is_read_than_was_asked_for() {
        let mut stream = Stream::new(Slow(b"some bytes", false));
        assert_eq!(stream.look(4).unwrap(), b"some");
        stream.pass(2);
        assert_eq!(stream.look(3).unwrap(), b"me ");
        assert_eq!(stream.read(), 5);
        assert!(stream.skip(3).unwrap() && !stream.skip(9).unwrap());
        assert_eq!(stream.look(usize::MAX).unwrap(), b"");
        assert_eq!(stream.read(), 10);
    }

    #[test]
    fn a_frame_is_found_wherever_it_starts() {
        for before in 0..70 {
            let noise: Vec<u8> = MARK.iter().copied().cycle().take(before).collect();
            let bytes = [&noise[..], &Frame::end(3, 1), b"tail"].concat();
            let mut stream = Stream::new(&bytes[..]);
            let (frame, damaged) = stream.frame(1).unwrap();
            assert_eq!(frame.map(|frame| frame.kind), Some(Kind::End(3)), "behind {before} bytes");
            assert_eq!(damaged, before > 0);
            assert_eq!(stream.frame(1).unwrap(), (None, true));
            assert_eq!(stream.frame(1).unwrap(), (None, true), "still the tail");
        }
    }

    #[test]
    fn a_length_is_no_reason_to_take_memory() {
        let mut stream = Stream::new(&b"short"[..]);
        assert_eq!(stream.look(1 << 40).unwrap(), b"short");
        assert!(stream.buffer.capacity() < 1 << 16);
    }
}
