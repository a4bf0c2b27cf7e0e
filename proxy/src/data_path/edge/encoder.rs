//! Compression piece by piece, in memory that is bounded whatever comes: windows of 256 KiB at most and no larger than the content,
//! and levels that cost little.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use routing_rules::rules::Coding;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

/// Takes content, gives what is to be sent.
pub(super) enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    /// All was given.
    Finished,
}

impl Encoder {
    /// For content of so many bytes, if that is known. It may be wrong: then it is compressed less well.
    pub(super) fn new(coding: Coding, length: Option<u64>) -> io::Result<Self> {
        let window_log = window_log(length);
        Ok(match coding {
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(window_log))?;
                // By themselves they would be those of the largest window.
                encoder.set_parameter(CParameter::HashLog(window_log - 1))?;
                encoder.set_parameter(CParameter::ChainLog(window_log - 2))?;
                Self::Zstd(encoder)
            }
            Coding::Br => {
                let params =
                    BrotliEncoderParams { quality: BROTLI_QUALITY, lgwin: window_log as i32, ..Default::default() };
                Self::Br(Box::new(CompressorWriter::with_params(Vec::new(), BUFFER, &params)))
            }
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
        })
    }

    /// The memory that it takes at most, in bytes.
    pub(super) fn memory(coding: Coding, length: Option<u64>) -> usize {
        // As measured with content of each length that compresses middling.
        let windows = match coding {
            Coding::Zstd => 6,
            Coding::Br => 14,
            Coding::Gzip => return 400 << 10,
        };
        (windows << window_log(length)) + (192 << 10)
    }

    /// Takes content. Some of it may be kept for later.
    pub(super) fn write(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        self.writer().map_or(Ok(()), |writer| writer.write_all(content))?;
        Ok(self.take())
    }

    /// Gives all that was kept.
    pub(super) fn flush(&mut self) -> io::Result<Vec<u8>> {
        self.writer().map_or(Ok(()), Write::flush)?;
        Ok(self.take())
    }

    /// Gives the rest, with which the content is whole.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u8>> {
        match std::mem::replace(self, Self::Finished) {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Br(encoder) => Ok(encoder.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Finished => Ok(Vec::new()),
        }
    }

    fn writer(&mut self) -> Option<&mut dyn Write> {
        match self {
            Self::Zstd(encoder) => Some(encoder),
            Self::Br(encoder) => Some(&mut **encoder),
            Self::Gzip(encoder) => Some(encoder),
            Self::Finished => None,
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Zstd(encoder) => std::mem::take(encoder.get_mut()),
            Self::Br(encoder) => std::mem::take(encoder.get_mut()),
            Self::Gzip(encoder) => std::mem::take(encoder.get_mut()),
            Self::Finished => Vec::new(),
        }
    }
}

/// Its default, which is about as fast as level 1 of gzip and compresses more than level 6.
const ZSTD_LEVEL: i32 = 3;
/// Above it brotli takes several times as long.
const BROTLI_QUALITY: i32 = 4;
const GZIP_LEVEL: u32 = 4;

/// The window, as a power of two: one that content of this length fits into, up to 256 KiB. gzip always has 32 KiB.
fn window_log(length: Option<u64>) -> u32 {
    let fits = length.map_or(u32::MAX, |length| u64::BITS - length.leading_zeros());
    fits.clamp(MIN_WINDOW_LOG, MAX_WINDOW_LOG)
}

const MIN_WINDOW_LOG: u32 = 10;
const MAX_WINDOW_LOG: u32 = 18;

/// What brotli collects before it gives something on, in bytes.
const BUFFER: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        match coding {
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes)?.read_to_end(&mut content)?,
            Coding::Br => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut content)?,
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut content)?,
        };
        Ok(content)
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let content: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_string().into_bytes()).collect();
        for coding in Coding::ALL {
            let lengths = [None, Some(content.len() as u64), Some(0), Some(5_000), Some(u64::MAX)];
            for (piece, length) in
                [1_000, 16 << 10, 1 << 20].into_iter().flat_map(|piece| lengths.map(|length| (piece, length)))
            {
                let mut encoder = Encoder::new(coding, length).expect("an encoder");
                let mut bytes: Vec<u8> =
                    content.chunks(piece).flat_map(|piece| encoder.write(piece).expect("no error")).collect();
                bytes.extend(encoder.finish().expect("no error"));
                assert!(bytes.len() < content.len() / 3, "{coding:?}: {}", bytes.len());
                assert!(decoded(coding, &bytes).expect("whole") == content, "{coding:?} by {piece} of {length:?}");
            }
        }
    }

    #[test]
    fn small_content_takes_little_memory() {
        for (length, window) in [(Some(0), 10), (Some(1_023), 10), (Some(1_024), 11), (Some(1 << 18), 18), (None, 18)] {
            assert_eq!(window_log(length), window, "{length:?}");
        }
        for coding in [Coding::Zstd, Coding::Br] {
            let [small, large] = [Some(10_000), None].map(|length| Encoder::memory(coding, length));
            assert!(small < 500 << 10 && small < large / 3, "{coding:?}: {small} {large}");
        }
    }

    /// What was flushed can be read before the rest comes, and without the end it is not whole.
    #[test]
    fn what_is_flushed_can_be_read_and_is_not_the_end() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, None).expect("an encoder");
            let mut bytes = encoder.write(b"first").expect("no error");
            bytes.extend(encoder.flush().expect("no error"));
            let mut first = [0; 5];
            match coding {
                Coding::Zstd => zstd::stream::read::Decoder::new(&*bytes).expect("a decoder").read_exact(&mut first),
                Coding::Br => brotli::Decompressor::new(&*bytes, 4_096).read_exact(&mut first),
                Coding::Gzip => flate2::read::GzDecoder::new(&*bytes).read_exact(&mut first),
            }
            .expect("what was flushed");
            assert_eq!(&first, b"first", "{coding:?}");
            assert!(decoded(coding, &bytes).is_err(), "{coding:?}");
        }
    }
}
