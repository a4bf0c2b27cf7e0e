//! The geo database: a MaxMind-format file, read whole at start.

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{Reader, geoip2};
use routing_rules::request::{GeoDatabase, Place};

/// A database with cities.
pub struct CityDatabase {
    reader: Reader<Vec<u8>>,
}

impl CityDatabase {
    /// Reads a database.
    ///
    /// # Errors
    /// The file cannot be read or is no such database.
    pub fn open(path: &Path) -> Result<Self, String> {
        let reader = Reader::open_readfile(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { reader })
    }
}

impl GeoDatabase for CityDatabase {
    fn locate(&self, address: IpAddr) -> Option<Place<'_>> {
        let city: geoip2::City<'_> = self.reader.lookup(address).ok()?.decode().ok()??;
        let subdivisions = city.subdivisions.iter().flat_map(|part| [part.iso_code, part.names.english]);
        Some(Place {
            country: city.country.iso_code,
            subdivisions: subdivisions.flatten().collect(),
            city: city.city.names.english,
        })
    }
}
