/* What screen readers and the keyboard need and Gradio's parts lack: names of pictures, and a slider with arrow keys. */
(() => {
  const STEP = 0.05; // of the width, for one press of an arrow key

  const named = (root, selector, text) =>
    root.querySelectorAll(selector).forEach((image) => { if (!image.alt) image.alt = text; });

  const nameThumbnails = () =>
    document.querySelectorAll(".thumbnail-item").forEach((button) => {
      const caption = button.querySelector(".caption-label");
      if (caption) button.setAttribute("aria-label", caption.textContent.trim());
    });

  const nameSlider = (slider) => {
    const images = slider.querySelectorAll("[data-testid=imageslider-image]");
    ["the photo", "the picture in the style"].forEach((text, index) => {
      if (images[index] && !images[index].alt) images[index].alt = text;
    });
  };

  const share = (handle) => {
    const frame = handle.parentElement.getBoundingClientRect();
    const box = handle.getBoundingClientRect();
    return (box.left + box.width / 2 - frame.left) / frame.width;
  };

  const moveTo = (handle, target) => {
    const frame = handle.parentElement.getBoundingClientRect();
    const box = handle.getBoundingClientRect();
    const clientY = box.top + box.height / 2;
    const fire = (on, type, clientX) =>
      on.dispatchEvent(new MouseEvent(type, { view: window, bubbles: true, cancelable: true, clientX, clientY }));
    const to = frame.left + Math.min(1, Math.max(0, target)) * frame.width;
    fire(handle, "mousedown", box.left + box.width / 2);
    fire(window, "mousemove", to);
    fire(window, "mouseup", to);
    handle.setAttribute("aria-valuenow", String(Math.round(100 * share(handle))));
  };

  const onKey = (event) => {
    const targets = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP };
    const handle = event.currentTarget;
    if (event.key in targets) moveTo(handle, share(handle) + targets[event.key]);
    else if (event.key === "Home") moveTo(handle, 0);
    else if (event.key === "End") moveTo(handle, 1);
    else return;
    event.preventDefault();
  };

  const makeKeyable = (handle) => {
    if (handle.getAttribute("role") === "slider") return;
    const attributes = {
      role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "50",
      "aria-label": "line between the photo and the picture",
    };
    Object.entries(attributes).forEach(([name, value]) => handle.setAttribute(name, value));
    handle.addEventListener("keydown", onKey);
  };

  const look = () => {
    nameThumbnails();
    const slider = document.querySelector("#slider");
    if (slider) {
      nameSlider(slider);
      slider.querySelectorAll("[data-testid=slider]").forEach(makeKeyable);
    }
    ["photo", "slow-photo"].forEach((id) => named(document, `#${id} img`, "your photo"));
    ["painting", "slow-painting"].forEach((id) => named(document, `#${id} img`, "the painting"));
  };

  let waits = false;
  new MutationObserver(() => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; look(); }, 200);
  }).observe(document, { childList: true, subtree: true });
})();
