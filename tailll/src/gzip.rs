//! Unpacking what a server has packed, without letting a small answer become a huge one.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Why a body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum GzipError {
    /// It is no gzip, or ends early.
    #[error("it is no whole gzip")]
    Broken(#[from] io::Error),
    /// It unpacks to more than the limit.
    #[error("it unpacks to more than {0} bytes")]
    TooLarge(usize),
}

/// Unpacks a gzip of at most `limit` bytes unpacked.
pub fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, GzipError> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(packed)
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut unpacked)?;
    if unpacked.len() > limit {
        return Err(GzipError::TooLarge(limit));
    }
    Ok(unpacked)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub(crate) fn pack(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn what_was_packed_comes_out_up_to_the_limit() {
        let packed = pack(&[b'x'; 5000]);
        assert_eq!(unpack(&packed, 5000).expect("a gzip"), [b'x'; 5000]);
        assert!(matches!(
            unpack(&packed, 4999),
            Err(GzipError::TooLarge(4999))
        ));
        for cut in 0..packed.len() - 1 {
            assert!(unpack(&packed[..cut], 5000).is_err() || cut == 0, "{cut}");
        }
        assert!(matches!(
            unpack(b"no gzip at all", 100),
            Err(GzipError::Broken(_))
        ));
    }
}
