#!/usr/bin/env python3
"""Two OCI layouts of the five tars in argv[1]: gzip -6 (tags gzip, and gzip-changed with another fifth layer), zstd -3."""
import hashlib, json, os, subprocess, sys, shutil
root=sys.argv[1]
def sha(path):
    h=hashlib.sha256()
    with open(path,'rb') as f:
        while b:=f.read(1<<20): h.update(b)
    return h.hexdigest()
def put(layout,data):
    d=hashlib.sha256(data).hexdigest()
    open(f'{layout}/blobs/sha256/{d}','wb').write(data)
    return {'digest':'sha256:'+d,'size':len(data)}
diffs=[sha(f'{root}/layer{i}.tar') for i in range(1,6)]
# a changed fifth layer
open(f'{root}/changed.txt','w').write('another fifth layer\n')
subprocess.run(['tar','--numeric-owner','-cf',f'{root}/layer6.tar','-C',root,'changed.txt'],check=True)
diff6=sha(f'{root}/layer6.tar')
for name,cmd,mt in (('gzip',['gzip','-6','-n','-c'],'tar+gzip'),('zstd',['zstd','-3','-q','-c'],'tar+zstd')):
    layout=f'{root}/{name}'; shutil.rmtree(layout,ignore_errors=True); os.makedirs(layout+'/blobs/sha256')
    open(layout+'/oci-layout','w').write('{"imageLayoutVersion":"1.0.0"}')
    ls=[]
    for i in range(1,7):
        t=f'{layout}/t'
        with open(t,'wb') as o: subprocess.run(cmd+[f'{root}/layer{i}.tar'],stdout=o,check=True)
        d=sha(t); size=os.path.getsize(t); os.rename(t,f'{layout}/blobs/sha256/{d}')
        ls.append({'mediaType':'application/vnd.oci.image.layer.v1.'+mt,'digest':'sha256:'+d,'size':size})
    ms=[]
    for tag,sel,df in ((name,ls[:5],diffs),(name+'-changed',ls[:4]+[ls[5]],diffs[:4]+[diff6])):
        cfg=json.dumps({'architecture':'amd64','os':'linux','config':{'Cmd':['/bin/bash'],'Env':['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']},'rootfs':{'type':'layers','diff_ids':['sha256:'+d for d in df]},'history':[{'created_by':f'layer {i}'} for i in range(5)]}).encode()
        c=put(layout,cfg); c['mediaType']='application/vnd.oci.image.config.v1+json'
        m=json.dumps({'schemaVersion':2,'mediaType':'application/vnd.oci.image.manifest.v1+json','config':c,'layers':sel}).encode()
        d=put(layout,m); d['mediaType']='application/vnd.oci.image.manifest.v1+json'; d['annotations']={'org.opencontainers.image.ref.name':tag}
        ms.append(d)
    open(layout+'/index.json','w').write(json.dumps({'schemaVersion':2,'manifests':ms}))
    print(name,sum(l['size'] for l in ls[:5]))
