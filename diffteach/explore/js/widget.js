// The widget's side of a view: values are traits of the model, saved at most ten times a second.

const SAVE_EVERY = 100;

async function renderWidget({ model, el }) {
  const root = document.createElement("div");
  el.append(root);
  const session = { view: null, saved: 0, timer: 0, wanted: null, asked: null, gone: false };
  const names = () => [...session.view.scene.params.map((p) => p.name), "revealed"];

  const save = () => {
    clearTimeout(session.timer);
    session.timer = 0;
    session.saved = performance.now();
    model.save_changes();
  };
  const host = {
    kernel: true,
    level: 3,
    pen: penFor,
    changed(name, value) {
      model.set(name, value);
      session.timer ||= setTimeout(save, Math.max(0, SAVE_EVERY - (performance.now() - session.saved)));
    },
    settled: save,
    dismissed() {
      model.set("error", "");
      save();
    },
    go(state) {
      model.set("state", state);
      save();
    },
    ask(name, value) {
      session.wanted = { name, value };
      if (session.asked === null) send();
    },
  };
  // One request at a time; while it runs only the latest wish is remembered.
  const send = () => {
    const { name, value } = session.wanted;
    session.wanted = null;
    session.asked = model.get("asked") + 1;
    model.set({ [name]: value, asked: session.asked });
    save();
  };
  const answered = () => {
    if (session.asked === null || model.get("answered") < session.asked) return;
    session.asked = null;
    if (session.wanted) return send();
    if (session.stale) show();
    session.view.answered(model.get("error"));
  };
  const show = async () => {
    if (session.asked !== null && session.wanted) return void (session.stale = true);
    session.stale = false;
    const bytes = model.get("scene");
    const scene = await unpack(bytes);
    if (session.gone || bytes !== model.get("scene")) return;
    const before = session.outline;
    session.outline = outline(scene); // now: drawing leaves its pictures in the layers
    if (session.view && session.outline === before) {
      session.view.swap(scene);
      return changed();
    }
    const focused = session.view && focusedName(session.view);
    session.view?.dispose();
    host.hide = model.get("hide");
    host.fixed = model.get("fixed");
    host.opening = model.get("opening");
    host.drawn = model.get("drawn");
    host.state = model.get("state");
    host.values = {};
    for (const name of [...scene.params.map((p) => p.name), "revealed"]) host.values[name] = model.get(name);
    session.view = new View(root, scene, host);
    if (focused) session.view.controls.get(focused)?.input?.focus({ preventScroll: true });
    if (model.get("error")) session.view.say(model.get("error"), true);
  };
  const changed = () => {
    if (session.view) for (const name of names()) session.view.follow(name, model.get(name));
  };
  const listeners = {
    "change:scene": show,
    "change:answered": answered,
    "change:error": () => session.asked === null && session.view?.say(model.get("error"), true),
    "change:state": () => {
      host.state = model.get("state");
      session.view?.showState(host.state);
    },
    "change:fixed": () => (host.fixed = model.get("fixed")),
    "change:hide": () => {
      host.hide = model.get("hide");
      session.view?.schedule();
    },
    change: changed,
  };
  for (const [event, act] of Object.entries(listeners)) model.on(event, act);
  await show();
  return () => {
    session.gone = true;
    if (session.timer) save();
    for (const [event, act] of Object.entries(listeners)) model.off(event, act);
    session.view?.dispose();
  };
}

// All of a scene but its arrays and defaults, as text.
function outline({ stacks, params, ...rest }) {
  return JSON.stringify([rest, Object.keys(stacks), params.map((p) => ({ ...p, default: null }))]);
}

function focusedName(view) {
  for (const [name, { element }] of view.controls) if (element.contains(document.activeElement)) return name;
  return null;
}

export default { render: renderWidget };
