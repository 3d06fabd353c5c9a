// Boot of a page on disk: the scene lies in the page, the state in the address.

(async () => {
  const root = document.getElementById("diffteach");
  const text = (id) => document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text("scene").trim()), (c) => c.charCodeAt(0));
  const state = JSON.parse(text("state"));
  let timer = 0;
  const host = {
    ...state,
    kernel: false,
    level: 1,
    address: (link) => location.href.replace(/#.*/s, "") + "#" + link,
    changed() {
      clearTimeout(timer);
      timer = setTimeout(() => history.replaceState(null, "", "#" + permalink(view)), 250);
    },
  };
  const view = new View(root, await unpack(bytes), host);
  const take = () => openLink(view, location.hash.slice(1));
  take();
  addEventListener("hashchange", take);
})();
