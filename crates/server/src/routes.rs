//! The table of all routes.

use http::Method;

use crate::router::Route;
use crate::{container, exec, image, network, system, volume};

macro_rules! routes {
    ($($method:ident $pattern:literal => $($handler:ident)::+;)*) => {
        &[$(Route::new(Method::$method, $pattern, |call| Box::pin($($handler)::+(call)))),*]
    };
}

/// Every path that is known; the first that fits wins.
pub(crate) static ROUTES: &[Route] = routes! {
    GET "/_ping" => system::ping::ping;
    HEAD "/_ping" => system::ping::ping;
    GET "/version" => system::version::version;
    GET "/info" => system::info::info;
    GET "/events" => system::events::events;
    GET "/system/df" => system::disk_usage::disk_usage;
    POST "/system/check" => system::check::check;

    GET "/containers/json" => container::list::list;
    POST "/containers/create" => container::create::create;
    POST "/containers/prune" => container::prune::prune;
    GET "/containers/{id}/json" => container::inspect::inspect;
    POST "/containers/{id}/start" => container::start::start;
    POST "/containers/{id}/attach" => container::attach::attach;
    GET "/containers/{id}/attach/ws" => container::attach::websocket;
    POST "/containers/{id}/wait" => container::wait::wait;
    POST "/containers/{id}/resize" => container::resize::resize;
    GET "/containers/{id}/logs" => container::logs::logs;
    POST "/containers/{id}/stop" => container::stop::stop;
    POST "/containers/{id}/kill" => container::kill::kill;
    POST "/containers/{id}/restart" => container::restart::restart;
    POST "/containers/{id}/pause" => container::pause::pause;
    POST "/containers/{id}/unpause" => container::pause::unpause;
    POST "/containers/{id}/rename" => container::rename::rename;
    POST "/containers/{id}/update" => container::update::update;
    GET "/containers/{id}/top" => container::top::top;
    GET "/containers/{id}/stats" => container::stats::stats;
    DELETE "/containers/{id}" => container::remove::remove;

    GET "/berth/networks/audit" => network::audit::audit;
    POST "/berth/networks/addresses/move" => network::move_address::move_address;
    POST "/berth/run" => container::run::run;
    POST "/berth/containers/{id}/exec" => exec::run::run;
    GET "/berth/containers/{id}/logs" => container::logs::kept_logs;
    POST "/berth/containers/{id}/rollback" => container::rollback::rollback;

    POST "/containers/{id}/exec" => exec::create::create;
    POST "/exec/{id}/start" => exec::start::start;
    POST "/exec/{id}/resize" => exec::resize::resize;
    GET "/exec/{id}/json" => exec::inspect::inspect;

    GET "/images/json" => image::list::list;
    POST "/images/create" => image::create::create;
    POST "/images/load" => image::load::load;
    POST "/images/pack" => image::pack::pack;
    POST "/images/missing" => image::copy::missing;
    POST "/images/prune" => image::prune::prune;
    GET "/images/get" => image::save::save;
    GET "/images/search" => image::search::search;
    GET "/images/{name..}/get" => image::save::save;
    GET "/images/{name..}/blobs" => image::copy::blobs;
    GET "/images/{name..}/json" => image::inspect::inspect;
    GET "/images/{name..}/history" => image::history::history;
    POST "/images/{name..}/tag" => image::tag::tag;
    POST "/images/{name..}/push" => image::push::push;
    DELETE "/images/{name..}" => image::remove::remove;

    GET "/volumes" => volume::list::list;
    POST "/volumes/create" => volume::create::create;
    POST "/volumes/prune" => volume::prune::prune;
    GET "/volumes/{name}" => volume::inspect::inspect;
    PUT "/volumes/{name}" => system::refusals::swarm;
    DELETE "/volumes/{name}" => volume::remove::remove;

    GET "/networks" => network::list::list;
    POST "/networks/create" => network::create::create;
    POST "/networks/prune" => network::prune::prune;
    GET "/networks/{id}" => network::inspect::inspect;
    POST "/networks/{id}/connect" => network::connect::connect;
    POST "/networks/{id}/disconnect" => network::disconnect::disconnect;
    DELETE "/networks/{id}" => network::remove::remove;

    GET "/containers/{id}/changes" => container::changes::changes;
    GET "/containers/{id}/export" => container::export::export;
    HEAD "/containers/{id}/archive" => container::copy::look;
    GET "/containers/{id}/archive" => container::copy::get;
    PUT "/containers/{id}/archive" => container::copy::put;
    GET "/containers/{id}/checkpoints" => system::refusals::checkpoint;
    POST "/containers/{id}/checkpoints" => system::refusals::checkpoint;
    POST "/commit" => container::commit::commit;
    POST "/auth" => system::login::login;
    POST "/build" => system::refusals::build;
    POST "/build/prune" => system::refusals::build_prune;
    POST "/session" => system::refusals::session;
    GET "/distribution/{name..}/json" => image::distribution::distribution;

    GET "/plugins" => system::refusals::plugins;
    GET "/plugins/{name..}" => system::refusals::plugin;
    POST "/plugins/{name..}" => system::refusals::plugin;
    DELETE "/plugins/{name..}" => system::refusals::plugin;

    GET "/swarm" => system::refusals::swarm;
    GET "/swarm/{what}" => system::refusals::swarm;
    POST "/swarm/init" => system::refusals::swarm_start;
    POST "/swarm/join" => system::refusals::swarm_start;
    POST "/swarm/{what}" => system::refusals::swarm;
    GET "/nodes" => system::refusals::swarm;
    GET "/nodes/{what..}" => system::refusals::swarm;
    POST "/nodes/{what..}" => system::refusals::swarm;
    DELETE "/nodes/{what..}" => system::refusals::swarm;
    GET "/services" => system::refusals::swarm;
    GET "/services/{what..}" => system::refusals::swarm;
    POST "/services/{what..}" => system::refusals::swarm;
    DELETE "/services/{what..}" => system::refusals::swarm;
    GET "/tasks" => system::refusals::swarm;
    GET "/tasks/{what..}" => system::refusals::swarm;
    GET "/secrets" => system::refusals::swarm;
    GET "/secrets/{what..}" => system::refusals::swarm;
    POST "/secrets/{what..}" => system::refusals::swarm;
    DELETE "/secrets/{what..}" => system::refusals::swarm;
    GET "/configs" => system::refusals::swarm;
    GET "/configs/{what..}" => system::refusals::swarm;
    POST "/configs/{what..}" => system::refusals::swarm;
    DELETE "/configs/{what..}" => system::refusals::swarm;
};
