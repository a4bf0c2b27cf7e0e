//! Device classes: a coarse answer to "what is the user holding?", from the `User-Agent` and the client hints of one request.
//!
//! One automaton finds every needle of `TABLE` in one pass over the agent; `classify` then decides from the set of what was
//! found, and is the only place that knows a priority. It is not a user agent parser: no versions, no brands, no browser. It
//! trusts what it is told, so a device condition chooses an audience and never protects anything.
//!
//! Invariants: no allocation, no panic on any bytes, and time linear in the agent, of which only the first 1,024 bytes are
//! read. The automaton (1.2 MB) is built once in a process, in about two milliseconds, when the first release is
//! compiled. A needle or a rule that changes what real agents get moves users between groups, so it comes with a new
//! [`DEVICE_TABLE_VERSION`].
//!
//! Where an agent does not decide, this is what was chosen:
//!
//! - **iPad in desktop mode** (the default since iPadOS 13) sends the agent of a Mac and no hints: Safari there is `mac`. Other
//!   iPadOS browsers and web views betray themselves (`CriOS`, `FxiOS`, `Mobile/15E148`, `FBDV/iPad`) and are `ipad`.
//!   An iPod touch is `iphone`. A headset or a watch of Apple is `other` when it says what it is.
//! - **Android** browsers say `Mobile` on phones and not on tablets. Agents of apps say neither, so they are phones unless they
//!   name a known tablet. `okhttp` alone is `android_phone`, though servers written in Java send it too.
//! - **HarmonyOS and OpenHarmony** phones and tablets count as Android ones: the same screens, and nothing else comes closer.
//! - **`CFNetwork … Darwin`** without a device is an app of an iPhone, an iPad or a Mac: `iphone`, the most probable, unless
//!   `x86_64` or the name of a Mac is there.
//! - **`bot` is every program nobody watches**: crawlers, link previews, probes, and the HTTP tools of scripts and servers (curl,
//!   wget, python-requests, Go, Java, Node…). Libraries that apps ship (okhttp, CFNetwork, Dalvik) are the app's device; those
//!   that are as likely either way (Dart, Apache-HttpClient, libcurl) say nothing and are `other`.
//! - **`tv` is the big screen of a room**: sets, sticks, boxes, and the consoles (PlayStation, Xbox, Switch). Handheld consoles,
//!   headsets, watches, e-readers, speakers, feature phones and Windows phones are `other`.
//! - **ChromeOS** is `linux`. The BSDs are `other`. A Mac-like or Linux-like agent that an Android browser sends for "desktop
//!   site" is believed unless a hint says Android.
//! - **Client hints** win over the agent, which browsers have frozen, with three exceptions: a bot stays a bot, a television
//!   stays a television (hints cannot say so), and an agent naming an iPhone or iPad stays one (no browser there sends hints,
//!   so they come from an emulator, whose user wants to be on that device).

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};

/// The version of the needles and of the rules over them. Two instances with different versions may put the same user on
/// different devices; `serin --version` shows which one it has.
pub const DEVICE_TABLE_VERSION: u32 = 1;

/// What kind of device sent a request; the module's documentation says how doubtful agents are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceClass {
    /// iPhone and iPod touch, browsers and apps.
    Iphone,
    /// iPad, as far as it admits to be one: Safari in desktop mode looks like a Mac.
    Ipad,
    /// A phone with Android or HarmonyOS.
    AndroidPhone,
    /// A tablet with Android, Fire OS or HarmonyOS.
    AndroidTablet,
    /// A computer with Windows.
    Windows,
    /// A Mac, or an iPad in desktop mode.
    Mac,
    /// A computer with Linux or ChromeOS.
    Linux,
    /// Television sets, sticks, set-top boxes and consoles.
    Tv,
    /// Programs nobody watches: crawlers, link previews, probes, scripts.
    Bot,
    /// Everything else, a missing agent included.
    Other,
}

impl DeviceClass {
    /// Every class, in the order in which the documentation lists them.
    pub const ALL: [Self; 10] = [
        Self::Iphone,
        Self::Ipad,
        Self::AndroidPhone,
        Self::AndroidTablet,
        Self::Windows,
        Self::Mac,
        Self::Linux,
        Self::Tv,
        Self::Bot,
        Self::Other,
    ];

    /// The class as rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iphone => "iphone",
            Self::Ipad => "ipad",
            Self::AndroidPhone => "android_phone",
            Self::AndroidTablet => "android_tablet",
            Self::Windows => "windows",
            Self::Mac => "mac",
            Self::Linux => "linux",
            Self::Tv => "tv",
            Self::Bot => "bot",
            Self::Other => "other",
        }
    }

    /// Builds the automaton, if nothing has yet. Compiling a release does, so that no request waits for it.
    pub(super) fn prepare() {
        LazyLock::force(&NEEDLES);
    }

    /// The class of a request. Of repeated headers the first counts.
    ///
    /// ```
    /// # use http::{HeaderMap, HeaderValue, header::USER_AGENT};
    /// # use routing_rules::release::DeviceClass;
    /// let mut headers = HeaderMap::new();
    /// headers.insert(USER_AGENT, HeaderValue::from_static("MyApp/3.2 (iPhone; iOS 19.1; Scale/3.00)"));
    /// assert_eq!(DeviceClass::of(&headers), DeviceClass::Iphone);
    /// ```
    pub fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
        classify(scan(head(agent, AGENT_BYTES), Found::NONE), headers)
    }
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeviceClass {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == name)
            .ok_or_else(|| UnknownDevice { name: name.to_owned() })
    }
}

/// A word that is not the name of a device class; the message lists those that are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDevice {
    name: String,
}

impl fmt::Display for UnknownDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown device {:?}; one of", self.name)?;
        for (position, class) in DeviceClass::ALL.into_iter().enumerate() {
            write!(f, "{} {class}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Error for UnknownDevice {}

// ---- the decision ----

/// The order of priority, all of it. A rule stands above those whose evidence it may be faked or accompanied by: crawlers copy
/// the agents of phones, televisions run Android, Windows phones and e-readers name both Android and the iPhone.
fn classify(agent: Found, headers: &HeaderMap) -> DeviceClass {
    if agent.is_bot() {
        return DeviceClass::Bot;
    }
    let hints = &Hints::of(headers);
    if agent.is_tv() || hints.model.is_tv() {
        return DeviceClass::Tv;
    }
    if agent.has(Found::GADGET) || hints.form == Some(Form::Gadget) {
        return DeviceClass::Other;
    }
    if let Some(apple) = apple_device(agent) {
        return apple;
    }
    match hints.platform {
        Some(Platform::Android) => return android(agent, hints),
        Some(Platform::Ios) if hints.mobile == Some(false) => return DeviceClass::Ipad,
        Some(Platform::Ios) => return DeviceClass::Iphone,
        Some(Platform::Windows) => return DeviceClass::Windows,
        Some(Platform::Mac) => return DeviceClass::Mac,
        Some(Platform::Linux) => return DeviceClass::Linux,
        None => {}
    }
    if agent.has(Found::ANDROID) {
        return android(agent, hints);
    }
    desktop(agent)
}

/// An iPhone or iPad that the agent names. The iPad goes first: apps made for the iPhone name both when they run on an iPad.
/// With Android in the agent the name is a copy's model ("iPhone 14 clone").
fn apple_device(agent: Found) -> Option<DeviceClass> {
    if agent.has(Found::ANDROID) {
        return None;
    }
    // No Mac says `Mobile` or carries the iOS build of a browser, so this is an iPad in desktop mode.
    let desktop_mode = agent.has(Found::MACINTOSH) && agent.any(Found::IOS_BROWSER.and(Found::MOBILE));
    if agent.has(Found::IPAD) || (desktop_mode && !agent.has(Found::IPHONE)) {
        return Some(DeviceClass::Ipad);
    }
    agent.has(Found::IPHONE).then_some(DeviceClass::Iphone)
}

/// Phone or tablet. A model is better than `Mobile`, which browsers of some small tablets with a telephone add.
fn android(agent: Found, hints: &Hints) -> DeviceClass {
    let tablet = match hints.form {
        Some(form) => form == Form::Tablet,
        None if agent.has(Found::TABLET) || hints.model.has(Found::TABLET) => true,
        None => match hints.mobile {
            Some(mobile) => !mobile,
            None => agent.has(Found::BROWSER) && !agent.has(Found::MOBILE),
        },
    };
    if tablet { DeviceClass::AndroidTablet } else { DeviceClass::AndroidPhone }
}

/// Computers, and what Apple's libraries send without a device. `iOS` stands below Windows only because it is the weaker word.
fn desktop(agent: Found) -> DeviceClass {
    if agent.has(Found::WINDOWS) {
        return DeviceClass::Windows;
    }
    if agent.has(Found::CFNETWORK) {
        let mac = agent.any(Found::MAC.and(Found::MACINTOSH).and(Found::CFNETWORK_MAC)) && !agent.has(Found::IOS);
        return if mac { DeviceClass::Mac } else { DeviceClass::Iphone };
    }
    if agent.has(Found::IOS) {
        return DeviceClass::Iphone;
    }
    if agent.any(Found::MAC.and(Found::MACINTOSH).and(Found::DARWIN)) {
        return DeviceClass::Mac;
    }
    if agent.has(Found::LINUX) { DeviceClass::Linux } else { DeviceClass::Other }
}

/// What the scan found, as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found(u32);

impl Found {
    const NONE: Self = Self(0);
    /// The agent has reached its first parenthesis: before it stands the product, whose name may be anything.
    const COMMENT: Self = Self(1);
    /// A name only programs use.
    const BOT: Self = Self(1 << 1);
    /// A word that crawlers use, and now and then an app (`iRobot`).
    const BOT_WORD: Self = Self(1 << 2);
    /// Proof of an app or a telephone, beside which `BOT_WORD` means nothing.
    const APP: Self = Self(1 << 3);
    /// A name only televisions and consoles use.
    const TV: Self = Self(1 << 4);
    /// The word, which apps on phones use as well.
    const TV_WORD: Self = Self(1 << 5);
    const TIZEN: Self = Self(1 << 6);
    /// Devices that have no class of their own.
    const GADGET: Self = Self(1 << 7);
    const IPAD: Self = Self(1 << 8);
    const IPHONE: Self = Self(1 << 9);
    const IOS: Self = Self(1 << 10);
    /// The names that browsers take on iOS only.
    const IOS_BROWSER: Self = Self(1 << 11);
    const CFNETWORK: Self = Self(1 << 12);
    const ANDROID: Self = Self(1 << 13);
    const MOBILE: Self = Self(1 << 14);
    const TABLET: Self = Self(1 << 15);
    /// The agent of a browser or of a web view, whose missing `Mobile` means a tablet.
    const BROWSER: Self = Self(1 << 16);
    const WINDOWS: Self = Self(1 << 17);
    const MACINTOSH: Self = Self(1 << 18);
    const MAC: Self = Self(1 << 19);
    /// The kernel of every Apple system, so it means a Mac only where nothing else is known.
    const DARWIN: Self = Self(1 << 20);
    /// What shows the Mac beside `CFNETWORK`, and nothing elsewhere.
    const CFNETWORK_MAC: Self = Self(1 << 21);
    const LINUX: Self = Self(1 << 22);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    fn has(self, all: Self) -> bool {
        self.0 & all.0 == all.0
    }

    fn is_bot(self) -> bool {
        self.has(Self::BOT) || (self.has(Self::BOT_WORD) && !self.has(Self::APP))
    }

    /// Tizen runs televisions, and some phones and watches that say `Mobile`. The remote control and the player of a television
    /// on a phone bear its name too: an iPhone is believed always, other phones where only a word speaks for the television.
    fn is_tv(self) -> bool {
        let apple = self.any(Self::IPHONE.and(Self::IPAD));
        let word = self.any(Self::TV_WORD.and(Self::TIZEN)) && !self.any(Self::MOBILE.and(Self::WINDOWS));
        !apple && (self.has(Self::TV) || word)
    }
}

// ---- client hints ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Platform {
    Android,
    Ios,
    Windows,
    Mac,
    Linux,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Phone,
    Tablet,
    /// Headsets, watches, cars, e-readers.
    Gadget,
}

struct Hints {
    platform: Option<Platform>,
    mobile: Option<bool>,
    form: Option<Form>,
    /// What the scan finds in the model; only tablets and televisions are asked for.
    model: Found,
}

impl Hints {
    fn of(headers: &HeaderMap) -> Self {
        let value = |name: &HeaderName| headers.get(name).map(|value| head(value.as_bytes(), HINT_BYTES));
        Self {
            platform: value(&SEC_CH_UA_PLATFORM).and_then(platform),
            mobile: value(&SEC_CH_UA_MOBILE).and_then(mobile),
            form: value(&SEC_CH_UA_FORM_FACTORS).and_then(form),
            // A model is inside a comment by nature.
            model: value(&SEC_CH_UA_MODEL).map_or(Found::NONE, |model| scan(bare(model), Found::COMMENT)),
        }
    }
}

/// `"Unknown"`, the empty string and what is not listed leave the decision to the agent.
fn platform(value: &[u8]) -> Option<Platform> {
    const NAMES: &[(&str, Platform)] = &[
        ("Android", Platform::Android),
        ("iOS", Platform::Ios),
        ("Windows", Platform::Windows),
        ("macOS", Platform::Mac),
        ("Linux", Platform::Linux),
        ("Chrome OS", Platform::Linux),
        ("Chromium OS", Platform::Linux),
    ];
    let name = bare(value);
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|&(_, platform)| platform)
}

fn mobile(value: &[u8]) -> Option<bool> {
    match value.trim_ascii() {
        b"?1" => Some(true),
        b"?0" => Some(false),
        _ => None,
    }
}

/// A list such as `"Mobile", "Tablet"`. The least ordinary word counts: a foldable phone says both of those and is unfolded.
fn form(value: &[u8]) -> Option<Form> {
    let says =
        |word: &str| value.split(|&byte| byte == b',').any(|item| bare(item).eq_ignore_ascii_case(word.as_bytes()));
    if ["XR", "Watch", "Automotive", "EInk"].into_iter().any(says) {
        Some(Form::Gadget)
    } else if says("Tablet") {
        Some(Form::Tablet)
    } else {
        says("Mobile").then_some(Form::Phone)
    }
}

/// A structured string (RFC 8941 §3.3.3) without its quotes; escapes are left alone, no name we know has one.
fn bare(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

static SEC_CH_UA_PLATFORM: HeaderName = HeaderName::from_static("sec-ch-ua-platform");
static SEC_CH_UA_MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");
static SEC_CH_UA_FORM_FACTORS: HeaderName = HeaderName::from_static("sec-ch-ua-form-factors");
static SEC_CH_UA_MODEL: HeaderName = HeaderName::from_static("sec-ch-ua-model");

// ---- the scan ----

/// Real agents end before 600 bytes; what stands behind this is filling, and an attacker's filling costs us no more than that.
const AGENT_BYTES: usize = 1024;
const HINT_BYTES: usize = 128;

fn head(value: &[u8], limit: usize) -> &[u8] {
    value.get(..limit).unwrap_or(value)
}

/// All needles in `text`, in one pass. Overlapping, because needles contain each other ("CUBOT" and "bot"); stepped by
/// hand, because the library's iterator is made for few matches in long texts and takes a seventh longer, twice as long on
/// hostile agents.
fn scan(text: &[u8], mut found: Found) -> Found {
    let Needles { automaton, start, meaning } = &*NEEDLES;
    let mut state = *start;
    for (at, &byte) in text.iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, byte);
        if !automaton.is_match(state) {
            continue;
        }
        for nth in 0..automaton.match_len(state) {
            let needle = automaton.match_pattern(state, nth);
            let Some(&(signal, place)) = meaning.get(needle.as_usize()) else {
                continue;
            };
            let end = at + 1;
            if !found.has(signal) && place.holds(text, end.saturating_sub(automaton.pattern_len(needle)), end, found) {
                found = found.and(signal);
            }
        }
        if found.has(Found::BOT) {
            break;
        }
    }
    found
}

/// Where a needle must stand to count.
#[derive(Clone, Copy, Debug)]
enum Place {
    Anywhere,
    /// At the very start of the agent.
    First,
    /// The needle is the agent.
    Only,
    /// Not after a letter or digit.
    Start,
    /// Not before a letter.
    End,
    /// Both.
    Word,
    /// As `End`, after the first parenthesis.
    Comment,
    /// As `Word`, after the first parenthesis.
    CommentWord,
}

impl Place {
    fn holds(self, text: &[u8], start: usize, end: usize, found: Found) -> bool {
        let starts =
            start.checked_sub(1).and_then(|before| text.get(before)).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let ends = text.get(end).is_none_or(|byte| !byte.is_ascii_alphabetic());
        match self {
            Self::Anywhere => true,
            Self::First => start == 0,
            Self::Only => start == 0 && end == text.len(),
            Self::Start => starts,
            Self::End => ends,
            Self::Word => starts && ends,
            Self::Comment => ends && found.has(Found::COMMENT),
            Self::CommentWord => starts && ends && found.has(Found::COMMENT),
        }
    }
}

struct Needles {
    automaton: DFA,
    start: StateID,
    /// By the number of the pattern.
    meaning: Vec<(Found, Place)>,
}

static NEEDLES: LazyLock<Needles> = LazyLock::new(|| {
    let flat = || {
        TABLE.iter().flat_map(|&(signal, place, needles)| needles.iter().map(move |&needle| (signal, place, needle)))
    };
    let automaton = DFA::builder()
        .ascii_case_insensitive(true)
        // `Standard` is the kind that reports overlapping matches.
        .match_kind(MatchKind::Standard)
        .start_kind(StartKind::Unanchored)
        .build(flat().map(|(_, _, needle)| needle))
        .expect("the table is a constant, far below the automaton's limits, and the tests build it");
    let start = automaton.start_state(Anchored::No).expect("the automaton is built for unanchored search");
    Needles { automaton, start, meaning: flat().map(|(signal, place, _)| (signal, place)).collect() }
});

// ---- the table ----

/// What to look for, where, and what it shows. Case does not matter, nor does the order.
// Filled lines read better here than one needle a line.
#[rustfmt::skip]
const TABLE: &[(Found, Place, &[&str])] = &[
    (Found::COMMENT, Place::Anywhere, &["("]),

    // -- programs --
    (Found::BOT, Place::Anywhere, &[
        // Search engines: the most frequent ones, and those whose name is not some "bot" or "spider".
        "Googlebot", "AdsBot-Google", "APIs-Google", "FeedFetcher-Google", "Mediapartners-Google", "Google-CloudVertexBot", "Google-InspectionTool",
        "Google-Read-Aloud", "Google-Safety", "Google-Site-Verification", "Google Favicon", "Google Web Preview", "GoogleImageProxy", "GoogleOther",
        "GoogleProducer", "Chrome-Lighthouse", "PageSpeed Insights", "bingbot", "BingPreview", "msnbot", "Applebot", "Yahoo! Slurp", "YandexBot",
        "YandexImages", "YandexMetrika", "Baiduspider", "Bytespider", "ia_archiver", "heritrix",
        // Language models.
        "ChatGPT-User", "Claude-User", "Claude-Web", "anthropic-ai", "cohere-ai", "Perplexity-User", "MistralAI-User", "meta-externalagent",
        "meta-externalfetcher", "meta-webindexer",
        // Link previews.
        "facebookexternalhit", "facebookcatalog", "Facebot", "Slack-ImgProxy", "SkypeUriPreview", "vkShare", "Embedly", "Iframely", "YahooMailProxy",
        // Browsers without a screen.
        "HeadlessChrome", "PhantomJS", "Puppeteer", "Playwright", "WindowsPowerShell",
        // Probes and load generators that dress as a browser.
        "DatadogSynthetics", "Datadog/Synthetics", "Pingdom", "UptimeRobot", "Uptime-Kuma", "StatusCake", "Site24x7", "GTmetrix", "NewRelicPinger",
        "Catchpoint", "PTST/", "Checkly", "HetrixTools", " Siege/",
        // Scanners.
        "Nmap Scripting", "zgrab", "masscan", "sqlmap", "Nikto", "CensysInspect", "InternetMeasurement", "Expanse, a Palo Alto",
    ]),
    (Found::BOT, Place::First, &[
        // Probes of platforms and proxies.
        "kube-probe/", "GoogleHC/", "GoogleStackdriverMonitoring", "ELB-HealthChecker/", "Amazon-Route53-Health-Check", "Envoy/HC", "Consul Health Check",
        "Prometheus/", "Blackbox Exporter/", "check_http/", "Zabbix",
        // Tools and the libraries of servers. okhttp, CFNetwork, Dart, libcurl and Apache-HttpClient are missing on purpose.
        "curl/", "Wget/", "Wget2/", "HTTPie/", "xh/", "PostmanRuntime/", "insomnia/", "bruno-runtime/", "k6/", "ApacheBench/", "python/",
        "Python-urllib/", "python-requests/", "python-httpx/", "aiohttp/", "Scrapy/", "Go-http-client/", "go-resty/", "Java/", "Java-http-client/",
        "Jetty/", "ReactorNetty/", "AHC/", "Apache-CXF/", "node-fetch/", "node-superagent/", "axios/", "got (", "Deno/", "Bun/", "libwww-perl/", "lwp-",
        "Faraday v", "rest-client/", "HTTPClient/", "PHP/", "GuzzleHttp/", "Symfony HttpClient", "WordPress/", "reqwest/", "hyper/", "ureq/", "grpc-go/",
        "grpc-python", "grpc-node", "grpc-java-netty/", "git/", "kubectl/", "Helm/", "containerd/", "docker/",
        // Apple's podcast directory; and a message's link preview, fetched by the sender's phone before anybody reads it.
        "iTMS", "WhatsApp/",
    ]),
    (Found::BOT, Place::Only, &["node", "undici", "Ruby", "fasthttp"]),
    (Found::BOT_WORD, Place::End, &["bot", "bots", "crawler", "crawl", "spider", "scraper"]),
    // "+http" is the address of an explanation, which crawlers are asked to give.
    (Found::BOT_WORD, Place::Anywhere, &["+http", "+ http", "HealthCheck", "Health Check", "LinkChecker", "W3C_Validator"]),
    (Found::APP, Place::Start, &["CUBOT", "CFNetwork/", "okhttp/", "Dalvik/", "Scale/"]),
    (Found::APP, Place::Word, &["iOS"]),

    // -- televisions and consoles --
    (Found::TV, Place::Anywhere, &[
        "SmartTV", "Smart-TV", "Smart TV", "Smart_TV", "SmartHub", "GoogleTV", "Google TV", "AndroidTV", "Android TV", "Android_TV", "AppleTV",
        "Apple TV", "FireTV", "Fire TV", "HbbTV", "CE-HTML", "NetCast", "Web0S", "webOS.TV", "LG SimpleSmart", "BRAVIA", "SonyCEBrowser", "SonyDTV",
        "Opera TV", "InettvBrowser", "DuneHD", "VIDAA", "VIERA", "SmartCast", "Espial", "CrKey", "Chromecast", "Roku/DVP", "/DVP-", "Nexus Player",
        "SHIELD Android", "MIBOX", "Freebox Player", "TV Box", "TVBox", " TV Build", "; AFT", "(AFT", "Amazon AFT", "Amazon/AFT", "PLAYSTATION 3",
        "PlayStation 4", "PlayStation 5", "Nintendo WiiU", "Nintendo Wii;", "Nintendo Switch",
    ]),
    (Found::TV, Place::Start, &["tvOS", "NETTV", "OpenTV", "MiTV", "Mi Box", "OMI/", "DTV/", "SetTopBox"]),
    (Found::TV, Place::CommentWord, &["Xbox", "STB"]),
    (Found::TV_WORD, Place::Comment, &[" TV", ";TV", "(TV", "_TV", "-TV"]),
    (Found::TIZEN, Place::Start, &["Tizen"]),

    // -- what has no class --
    (Found::GADGET, Place::Anywhere, &[
        "Windows Phone", "Windows Mobile", "Windows CE", "IEMobile", "(BlackBerry", "Profile/MIDP", "BB10;", "KAIOS", "Symbian", "SymbOS", "Series40",
        "Series60", "J2ME", "Bada/", "MeeGo", "Sailfish", "OculusBrowser", "PicoBrowser", "Apple Vision", "Apple Watch", "HomePod", "AudioAccessory",
        // "like Android" are the Kindle readers; Fire tablets say "Kindle Fire" or nothing, and the reading app has no space before.
        "like Android", " Kindle/", " PocketBook/", "Kobo Touch", "PlayStation Vita", "PlayStation Portable", "Nintendo 3DS", "Nintendo DSi",
        "(PC; OpenHarmony",
    ]),
    (Found::GADGET, Place::Start, &["visionOS", "watchOS"]),

    // -- Apple --
    (Found::IPAD, Place::Start, &["iPad"]),
    (Found::IPHONE, Place::Start, &["iPhone", "iPod", "iPh OS", "grpc-objc/"]),
    (Found::IOS, Place::Word, &["iOS", "like Mac OS X"]),
    (Found::IOS_BROWSER, Place::Start, &["CriOS/", "FxiOS/", "EdgiOS/", "OPiOS/", "OPT/", "GSA/", "FBAN/FBIOS"]),
    (Found::CFNETWORK, Place::Start, &["CFNetwork/"]),
    (Found::MACINTOSH, Place::Start, &["Macintosh"]),
    // "Mac1" begins the model of every Mac since 2022 (Mac14,2).
    (Found::MAC, Place::Start, &["Mac OS X", "OS X", "macOS", "MacBook", "iMac", "Macmini", "MacPro", "Mac1", "Mac_PowerPC"]),
    (Found::DARWIN, Place::Start, &["Darwin"]),
    (Found::CFNETWORK_MAC, Place::Start, &["x86_64", "i386"]),
    // Safari's own requests; on iOS they are "MobileSafari".
    (Found::CFNETWORK_MAC, Place::First, &["Safari/"]),

    // -- Android --
    (Found::ANDROID, Place::Anywhere, &["Android", "OpenHarmony", "HarmonyOS", "; Adr ", "FBAN/FB4A", "Apache-HttpClient/UNAVAILABLE"]),
    (Found::ANDROID, Place::Start, &["okhttp/", "Dalvik/", "Silk/"]),
    // "Phone" is what Harmony and some games say.
    (Found::MOBILE, Place::Word, &["Mobile", "Phone", "Opera Mini", "Opera Mobi", "UCWEB"]),
    (Found::BROWSER, Place::First, &["Mozilla/", "Opera/"]),
    (Found::TABLET, Place::Start, &[
        "SM-T", "SM-X", "SM-P", "GT-P", "GT-N80", "GT-N51", "SHW-M380", "Kindle Fire", "Amazon KF", "Amazon/KF", "Nexus 7", "Nexus 9", "Nexus 10",
        "Pixel C ", "Pixel Tablet", "Lenovo TB", "TB-X", "TB-8", "TB-J", "TB1", "TB3", "Yoga Tab", "Xoom", "Xperia Tablet", "SGP", "Transformer",
        "Iconia", "LG-V4", "LG-V5", "AGS2-", "AGS3-", "BAH2-", "BAH3-", "BAH4-", "SHT-", "SCMR-", "MRX-", "OPD2", "RMP2", "21051182", "M2105K81",
        "22081281", "22081283", "23043RP", "23046RP", "23073RP", "24018RP", "2405CRP", "24091RP", "25040RP",
    ]),
    // "-W09" ends the models of Huawei's and Honor's tablets.
    (Found::TABLET, Place::Anywhere, &["MediaPad", "MatePad", "; KF", "-W09", "-W19"]),
    // Words that a product may bear ("Launchpad/1.0").
    (Found::TABLET, Place::CommentWord, &["Tab", "Tablet", "Opera Tablet"]),
    (Found::TABLET, Place::Comment, &["Pad"]),

    // -- computers --
    (Found::WINDOWS, Place::Start, &["Windows", "Win64", "Win98"]),
    (Found::LINUX, Place::Start, &["Linux", "CrOS", "Ubuntu"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the table; sorted, because the order means nothing.
    fn fingerprint() -> u64 {
        let entry = |&(signal, place, needles): &(Found, Place, &[&str])| {
            let entries = needles.iter().map(|needle| format!("{} {place:?} {needle}\n", signal.0));
            entries.collect::<Vec<_>>()
        };
        let mut entries: Vec<String> = TABLE.iter().flat_map(entry).collect();
        entries.sort();
        entries
            .concat()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    #[test]
    fn a_changed_table_has_a_new_version() {
        let known = (1, 9802589042992505236);
        assert_eq!(
            (DEVICE_TABLE_VERSION, fingerprint()),
            known,
            "raise DEVICE_TABLE_VERSION once this one is released, then write the new pair here"
        );
    }

    /// One line per needle is cheap to add and each costs some kilobytes; this is where somebody notices.
    #[test]
    fn the_automaton_is_small() {
        let bytes = NEEDLES.automaton.memory_usage();
        assert!(bytes < 1536 * 1024, "{bytes}");
        assert_eq!(NEEDLES.meaning.len(), NEEDLES.automaton.patterns_len());
    }

    #[test]
    fn needles_are_ascii_and_unique() {
        let mut seen = std::collections::HashSet::new();
        for (signal, place, needles) in TABLE {
            for needle in *needles {
                assert!(needle.is_ascii() && !needle.is_empty(), "{needle:?}");
                assert!(seen.insert((signal.0, format!("{place:?}"), needle.to_ascii_lowercase())), "{needle:?} twice");
            }
        }
    }
}
