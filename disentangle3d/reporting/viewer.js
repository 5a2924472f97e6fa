// The page's data, FACES, and THREE are defined before this script.
"use strict";

const GREY = [0.78, 0.78, 0.78];
// Dark to light and told apart by colour-blind readers (viridis, sampled).
const RAMP = [
  [0.267, 0.005, 0.329], [0.23, 0.322, 0.546], [0.128, 0.567, 0.551],
  [0.369, 0.789, 0.383], [0.993, 0.906, 0.144],
];

function numbers(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

function ramp(value, color, at) {
  const place = Math.min(Math.max(value, 0), 0.9999) * (RAMP.length - 1);
  const low = Math.floor(place), share = place - low;
  for (let c = 0; c < 3; c++) {
    color[at + c] = (1 - share) * RAMP[low][c] + share * RAMP[low + 1][c];
  }
}

const element = (id) => document.getElementById(id);
const triangles = new THREE.BufferAttribute(
  numbers(FACES.triangles, Uint32Array), 1);
const places = new THREE.BufferAttribute(
  numbers(FACES.places, Float32Array), 2);
const mean = numbers(FACES.mean, Int16Array);
const step = FACES.step_mm;
const count = mean.length;

// The light that an sRGB value stands for (IEC 61966-2-1): three.js shades
// light, and codes it when all is drawn.
function light(coded) {
  return coded <= 0.04045
    ? coded / 12.92 : Math.pow((coded + 0.055) / 1.055, 2.4);
}

function makePanel() {
  const geometry = new THREE.BufferGeometry();
  for (const name of ["position", "color", "normal"]) {
    geometry.setAttribute(
      name, new THREE.BufferAttribute(new Float32Array(count), 3));
  }
  geometry.setAttribute("uv", places);
  geometry.setIndex(triangles);
  const painted = new THREE.MeshLambertMaterial(
    {vertexColors: true, side: THREE.DoubleSide});
  // A photo has its own light and shade.
  const skin = new THREE.MeshBasicMaterial({side: THREE.DoubleSide});
  const mesh = new THREE.Mesh(geometry, painted);
  const scene = new THREE.Scene();
  scene.add(mesh);
  scene.add(new THREE.AmbientLight(0xffffff, 0.25));
  const lamp = new THREE.DirectionalLight(0xffffff, 0.75);
  scene.add(lamp);
  return {geometry, scene, lamp, mesh, painted, skin};
}

const panels = [makePanel(), makePanel(), makePanel()];
const canvas = element("canvas");

function makeRenderer() {
  try {
    return new THREE.WebGLRenderer(
      {canvas, antialias: true, alpha: true, preserveDrawingBuffer: true});
  } catch (error) {
    element("problem").hidden = false;
    canvas.hidden = true;
    element("photo").src = FACES.faces[0].photo;
    document.body.dataset.ready = "no WebGL";
    throw error;
  }
}

const renderer = makeRenderer();
renderer.outputEncoding = THREE.sRGBEncoding;
renderer.setScissorTest(true);
const camera = new THREE.PerspectiveCamera(18, 1, 10, 5000);
const controls = new THREE.TrackballControls(camera, canvas);
controls.staticMoving = true;
controls.rotateSpeed = 3;

function lookFromTheFront() {
  camera.position.set(FACES.center[0], FACES.center[1],
    FACES.center[2] + FACES.distance_mm);
  camera.up.set(0, 1, 0);
  controls.target.set(...FACES.center);
  controls.update();
}

function draw() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const part = Math.floor(width / panels.length);
  camera.aspect = part / height;
  camera.updateProjectionMatrix();
  panels.forEach((panel, index) => {
    panel.lamp.position.copy(camera.position).add(
      new THREE.Vector3(-300, 400, 0).applyQuaternion(camera.quaternion));
    renderer.setViewport(index * part, 0, part, height);
    renderer.setScissor(index * part, 0, part, height);
    renderer.render(panel.scene, camera);
  });
}

let face = null;

function loadSkin(address) {
  const skin = new THREE.TextureLoader().load(address, draw);
  skin.encoding = THREE.sRGBEncoding;
  skin.flipY = false;
  return skin;
}

function choose(index) {
  const entry = FACES.faces[index];
  face = {
    identity: numbers(entry.identity, Int16Array),
    residual: numbers(entry.residual, Int16Array),
    skin: entry.skin ? loadSkin(entry.skin) : null,
  };
  element("photo").src = entry.photo;
  element("textured").disabled = !face.skin;
  update();
}

function fill(panel, identityGain, residualGain, paint) {
  const position = panel.geometry.attributes.position;
  const color = panel.geometry.attributes.color;
  for (let i = 0; i < count; i++) {
    position.array[i] = step * (mean[i] + identityGain * face.identity[i]
      + residualGain * face.residual[i]);
  }
  for (let i = 0; i < count; i += 3) paint(color.array, i);
  for (let i = 0; i < count; i++) color.array[i] = light(color.array[i]);
  position.needsUpdate = color.needsUpdate = true;
  panel.geometry.computeVertexNormals();
}

function update() {
  const identityGain = Number(element("identity").value);
  const residualGain = Number(element("residual").value);
  element("identity_value").textContent = identityGain.toFixed(1) + "×";
  element("residual_value").textContent = residualGain.toFixed(1) + "×";
  const textured = face.skin && element("textured").checked;
  for (const panel of panels.slice(0, 2)) {
    panel.skin.map = face.skin;
    panel.skin.needsUpdate = true;
    panel.mesh.material = textured ? panel.skin : panel.painted;
  }
  const skin = (color, i) => {
    for (let c = 0; c < 3; c++) color[i + c] = GREY[c];
  };
  const heat = (color, i) => {
    const [x, y, z] = [0, 1, 2].map((c) => face.residual[i + c]);
    const length = step * Math.abs(residualGain) * Math.hypot(x, y, z);
    ramp(length / FACES.heat_mm, color, i);
  };
  fill(panels[0], identityGain, residualGain, skin);
  fill(panels[1], identityGain, 0, skin);
  fill(panels[2], identityGain, residualGain, heat);
  draw();
}

function resize() {
  renderer.setPixelRatio(window.devicePixelRatio);
  renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);
  controls.handleResize();
  draw();
}

FACES.faces.forEach((entry, index) => {
  element("face").add(new Option(entry.title, index));
});
element("face").parentElement.hidden = FACES.faces.length < 2;
element("face").addEventListener("change", (e) => choose(e.target.value));
for (const id of ["identity", "residual", "textured"]) {
  element(id).addEventListener("input", update);
}
element("reset").addEventListener("click", () => {
  element("identity").value = element("residual").value = 1;
  lookFromTheFront();
  update();
});
controls.addEventListener("change", draw);
window.addEventListener("resize", resize);
// #identity=2&residual=3&yaw=40&textured=0 opens the page that way.
const wished = new URLSearchParams(location.hash.slice(1));
for (const id of ["identity", "residual"]) {
  if (wished.has(id)) element(id).value = wished.get(id);
}
element("textured").checked = wished.get("textured") !== "0";
lookFromTheFront();
if (wished.has("yaw")) {
  const angle = Number(wished.get("yaw")) * Math.PI / 180;
  camera.position.set(
    FACES.center[0] + FACES.distance_mm * Math.sin(angle), FACES.center[1],
    FACES.center[2] + FACES.distance_mm * Math.cos(angle));
  controls.update();
}
choose(0);
resize();
(function animate() {
  requestAnimationFrame(animate);
  controls.update();
})();
document.body.dataset.ready = "yes";
