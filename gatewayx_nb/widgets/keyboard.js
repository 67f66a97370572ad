// Keys of a view: Ctrl-Enter (or Cmd-Enter) runs, Esc stops. On the window and before all others, as
// the notebook has meanings of its own for both. So it has for letters and arrows where nothing is
// typed, on a button or in a list: "dd" would delete the cell. Only the page's own actions are left.
function isPlain(event) {
  const held = event.ctrlKey || event.metaKey || event.altKey;
  const plain = event.key.length === 1 || event.key.startsWith("Arrow");
  return plain && !held && !event.target.matches(":read-write");
}

// Without a secure context, as over http to another machine, a page has only the older command.
async function copy(element) {
  const text = element?.textContent ?? "";
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const selection = window.getSelection();
  selection.selectAllChildren(element);
  document.execCommand("copy");
  selection.removeAllRanges();
}

export default {
  render({ model, el }) {
    // A button that was pressed may be gone, and the focus with it: the view is still the one in use.
    let used = false;
    const inside = (event) => el.closest(model.get("scope"))?.contains(event.target) ?? false;
    const onUse = (event) => {
      used = inside(event);
    };
    const onKey = (event) => {
      const isRun = event.key === "Enter" && (event.ctrlKey || event.metaKey);
      const runs = isRun && model.get("runs") && inside(event);
      const stops = event.key === "Escape" && model.get("running") && (used || inside(event));
      if (!runs && !stops) {
        if (isPlain(event) && inside(event)) event.stopImmediatePropagation();
        return;
      }
      event.preventDefault();
      event.stopImmediatePropagation();
      // What was typed last is told to the kernel by this, ahead of the key.
      event.target.dispatchEvent(new Event("change", { bubbles: true }));
      model.send({ press: runs ? "run" : "stop" });
    };
    const onClick = (event) => {
      const button = event.target.closest?.(".gatewayx-copy");
      if (button && inside(event)) {
        copy(el.closest(model.get("scope")).querySelector(".gatewayx-code pre"));
      }
    };
    window.addEventListener("click", onClick, true);
    window.addEventListener("pointerdown", onUse, true);
    window.addEventListener("keydown", onKey, true);
    return () => {
      window.removeEventListener("click", onClick, true);
      window.removeEventListener("pointerdown", onUse, true);
      window.removeEventListener("keydown", onKey, true);
    };
  },
};
