// Keys of a view: Ctrl-Enter (or Cmd-Enter) runs, Esc stops. The listeners are on the window and
// run before all others, because the notebook has its own actions for both keys. It also has
// actions for letters and arrows while a button or a list has the focus: "dd" would delete the
// cell. These are suppressed, and only the page's own actions are kept.
function isPlain(event) {
  const held = event.ctrlKey || event.metaKey || event.altKey;
  const plain = event.key.length === 1 || event.key.startsWith("Arrow");
  return plain && !held && !event.target.matches(":read-write");
}

// Send the text of a field to the kernel, which ignores it if it has not changed.
function sendText(field) {
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

// A page that was not loaded securely, such as over http from another machine, has no `clipboard`.
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
    // A pressed button may have been removed, and the focus with it; the view is still in use.
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
      sendText(event.target);
      model.send({ press: runs ? "run" : "stop" });
    };
    // When a field loses the focus, a browser fires no "change" if the text is what it was when the
    // field got the focus, although another text may have been sent by a key since.
    const onLeave = (event) => {
      if (inside(event) && event.target.matches(":read-write")) sendText(event.target);
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
    window.addEventListener("focusout", onLeave, true);
    return () => {
      window.removeEventListener("click", onClick, true);
      window.removeEventListener("pointerdown", onUse, true);
      window.removeEventListener("keydown", onKey, true);
      window.removeEventListener("focusout", onLeave, true);
    };
  },
};
