//! Whether the conditions of an audience rule hold for a request.

use std::cell::OnceCell;

use http::HeaderValue;

use super::DeviceClass;
use crate::request::{Place, RequestView, cookie};
use crate::rules::{Conditions, GeoPattern};

/// A request with what is learned about it at some cost: once, and only if a rule asks.
pub(super) struct Facts<'a> {
    request: &'a RequestView<'a>,
    device: OnceCell<DeviceClass>,
    place: OnceCell<Option<Place<'a>>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(request: &'a RequestView<'a>) -> Self {
        Self { request, device: OnceCell::new(), place: OnceCell::new() }
    }

    /// The same of a request whose headers are gone, and of which it is known what they said of the device.
    pub(super) fn of_device(request: &'a RequestView<'a>, device: DeviceClass) -> Self {
        Self { device: device.into(), ..Self::new(request) }
    }

    /// Whether all conditions hold. The cheap ones are asked first.
    pub(super) fn fulfil(&self, conditions: &Conditions) -> bool {
        let headers = self.request.headers;
        (conditions.ip.is_empty() || conditions.ip.contains(self.request.client))
            && conditions
                .header
                .iter()
                .all(|condition| condition.pattern.matches(headers.get(&condition.name).map(HeaderValue::as_bytes)))
            && conditions.cookie.iter().all(|condition| condition.pattern.matches(cookie(headers, &condition.name)))
            && self.fulfil_device_and_place(conditions)
    }

    /// Whether those conditions hold that do not ask for headers or cookies.
    pub(super) fn fulfil_other_than_texts(&self, conditions: &Conditions) -> bool {
        (conditions.ip.is_empty() || conditions.ip.contains(self.request.client))
            && self.fulfil_device_and_place(conditions)
    }

    fn fulfil_device_and_place(&self, conditions: &Conditions) -> bool {
        (conditions.device.is_empty() || conditions.device.contains(&self.device()))
            && conditions.geo.as_ref().is_none_or(|pattern| self.place().is_some_and(|place| lies_in(place, pattern)))
    }

    /// The device, if a condition asked for it.
    pub(super) fn known_device(&self) -> Option<DeviceClass> {
        self.device.get().copied()
    }

    fn device(&self) -> DeviceClass {
        *self.device.get_or_init(|| DeviceClass::of(self.request.headers))
    }

    fn place(&self) -> Option<&Place<'a>> {
        let locate = || self.request.geo.and_then(|geo| geo.locate(self.request.client));
        self.place.get_or_init(locate).as_ref()
    }
}

fn lies_in(place: &Place<'_>, pattern: &GeoPattern) -> bool {
    let allows = |list: &[Box<str>], name: &str| list.iter().any(|listed| **listed == *name);
    (pattern.country.is_empty() || place.country.is_some_and(|name| allows(&pattern.country, name)))
        && (pattern.subdivision.is_empty() || place.subdivisions.iter().any(|name| allows(&pattern.subdivision, name)))
        && (pattern.city.is_empty() || place.city.is_some_and(|name| allows(&pattern.city, name)))
}
